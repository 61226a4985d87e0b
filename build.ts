/**
 * `bun run build`: brings the native libraries in build/ up to date, one for each backend whose tools are on this machine.
 * Incremental; a run with nothing to do takes a fraction of a second.
 */

import { statSync, writeFileSync } from "node:fs"
import { parseArgs } from "node:util"
import { BACKENDS, type Backend, type Variant } from "./scripts/build/backends.ts"
import { BuildError, buildLibrary } from "./scripts/build/incremental.ts"

const HELP = `Usage: bun run build [options]

Builds build/librocmforge-BACKEND.so for every backend (${BACKENDS.map((backend) => backend.name).join(", ")}) whose tools are installed.

  --backend NAME  only this one; an error when its tools are missing (repeatable)
  --present       only the CPU and the GPUs that this machine has
  --arch NAME     device code for this architecture alone, to save time: gfx1100, sm_90, … (repeatable)
  --list          only say which backends can be built here, and with what; an error when none can
  --asan          with AddressSanitizer and UBSan, into build/asan/;
                  a process that opens it needs the variables in build/asan/environment.json
  --werror        compiler warnings are errors
  --force         build everything again
  -h, --help      this text

CXX names the C++ compiler; without it the newest clang (17 or later) is used, else g++ (12 or later).`

interface Options {
  backends: readonly Backend[]
  /** The backends were named, so that one which cannot be built is an error. */
  named: boolean
  /** Device code for these alone; empty for all. */
  architectures: readonly string[]
  listOnly: boolean
  variant: Variant
  werror: boolean
  force: boolean
}

function readOptions(): Options | undefined {
  const { values } = parseArgs({
    options: {
      backend: { type: "string", multiple: true },
      present: { type: "boolean", default: false },
      arch: { type: "string", multiple: true },
      list: { type: "boolean", default: false },
      asan: { type: "boolean", default: false },
      werror: { type: "boolean", default: false },
      force: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  })
  if (values.help) return undefined
  const unknown = values.backend?.filter((name) => !BACKENDS.some((backend) => backend.name === name)) ?? []
  if (unknown.length > 0) {
    throw new BuildError(`no backend "${unknown[0]}"; known: ${BACKENDS.map((backend) => backend.name).join(", ")}`)
  }
  const named = BACKENDS.filter((backend) => values.backend?.includes(backend.name))
  return {
    backends: values.backend ? named : BACKENDS.filter((backend) => !values.present || backend.present()),
    named: values.backend !== undefined,
    architectures: values.arch ?? [],
    listOnly: values.list,
    variant: values.asan ? "asan" : "release",
    werror: values.werror,
    force: values.force,
  }
}

/** Builds one backend, or only says with what it would; false when its tools are missing. */
async function buildBackend(backend: Backend, options: Options): Promise<boolean> {
  const say = (line: string) => console.log(`${backend.name}: ${line}`)
  const recipe = await backend.plan(options.variant, options.architectures)
  if ("skipped" in recipe) {
    say(`skipped: ${recipe.skipped}`)
    return false
  }
  if (options.listOnly) {
    const targets = recipe.architectures ? `, for ${recipe.architectures.join(" ")}` : ""
    say(`${recipe.toolchain}${targets}${recipe.warning ? `; warning: ${recipe.warning}` : ""}`)
    return true
  }
  if (recipe.units.length === 0) throw new BuildError(`${backend.name}: no source files; is the checkout whole?`)
  if (recipe.warning) say(`warning: ${recipe.warning}`)

  const folder = options.variant === "asan" ? "build/asan" : "build"
  const library = `${folder}/librocmforge-${backend.name}.so`
  const objectFolder = options.variant === "asan" ? `build/obj/${backend.name}-asan` : `build/obj/${backend.name}`
  const started = performance.now()
  const report = await buildLibrary({ ...options, recipe, objectFolder, library, say })
  if (recipe.environment)
    writeFileSync(`${folder}/environment.json`, `${JSON.stringify(recipe.environment, null, 2)}\n`)

  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  const kilobytes = Math.round(statSync(library).size / 1024)
  say(report.linked ? `built ${library} (${kilobytes} KiB) in ${seconds} s` : `${library} is up to date`)
  return true
}

async function main(): Promise<number> {
  // Commands and stamps name files relative to the repository, so that a moved checkout stays up to date.
  process.chdir(import.meta.dir)
  const options = readOptions()
  if (!options) {
    console.log(HELP)
    return 0
  }
  let built = 0
  for (const backend of options.backends) {
    if (await buildBackend(backend, options)) built++
  }
  if (built === 0 || (options.named && built < options.backends.length)) {
    console.error("build: nothing could be built for the backends above")
    return 1
  }
  return 0
}

try {
  process.exitCode = await main()
} catch (error) {
  if (!(error instanceof BuildError) && !(error instanceof TypeError)) throw error
  console.error(`build: ${error.message}`)
  process.exitCode = 1
}
