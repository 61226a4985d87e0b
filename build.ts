/**
 * `bun run build`: builds the native libraries in build/, one for each backend whose tools are installed. Only what changed is built, so
 * a run with nothing to do takes a fraction of a second.
 */

import { statSync, writeFileSync } from "node:fs"
import { parseArgs } from "node:util"
import { BACKENDS, type Backend, type Variant } from "./scripts/build/backends.ts"
import { BuildError, buildLibrary } from "./scripts/build/incremental.ts"

const HELP = `Usage: bun run build [options]

Builds build/librocmforge-BACKEND.so for each backend (${BACKENDS.map((backend) => backend.name).join(", ")}) whose tools are installed.

  --backend NAME  build only this backend; fails when its tools are missing (repeatable)
  --present       build only for the CPU and the GPUs of this machine
  --arch NAME     build device code only for this architecture, to save time: gfx1100, sm_90, … (repeatable)
  --list          build nothing; list the backends that can be built, and their tools; fails when there are none
  --asan          build with AddressSanitizer and UBSan into build/asan/;
                  a process that loads the library needs the variables in build/asan/environment.json
  --werror        treat compiler warnings as errors
  --force         build everything again
  -h, --help      print this help

CXX names the C++ compiler. Without it the newest clang (17 or later) is used, else the newest g++ (12 or later).`

interface Options {
  backends: readonly Backend[]
  /** The user named the backends, so a backend that cannot be built is an error. */
  named: boolean
  /** Architectures to build device code for; empty: all. */
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
    throw new BuildError(
      `unknown backend "${unknown[0]}"; known backends: ${BACKENDS.map((backend) => backend.name).join(", ")}`,
    )
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

/** Builds one backend, or lists its tools with `--list`. Returns false when its tools are missing. */
async function buildBackend(backend: Backend, options: Options): Promise<boolean> {
  const print = (line: string) => console.log(`${backend.name}: ${line}`)
  const recipe = await backend.plan(options.variant, options.architectures)
  if ("skipped" in recipe) {
    print(`skipped: ${recipe.skipped}`)
    return false
  }
  if (options.listOnly) {
    const targets = recipe.architectures ? `, for ${recipe.architectures.join(" ")}` : ""
    print(`${recipe.toolchain}${targets}${recipe.warning ? `; warning: ${recipe.warning}` : ""}`)
    return true
  }
  if (recipe.units.length === 0)
    throw new BuildError(`${backend.name}: no source files found; is the checkout complete?`)
  if (recipe.warning) print(`warning: ${recipe.warning}`)

  const folder = options.variant === "asan" ? "build/asan" : "build"
  const library = `${folder}/librocmforge-${backend.name}.so`
  const objectFolder = options.variant === "asan" ? `build/obj/${backend.name}-asan` : `build/obj/${backend.name}`
  const started = performance.now()
  const report = await buildLibrary({ ...options, recipe, objectFolder, library, print })
  if (recipe.environment)
    writeFileSync(`${folder}/environment.json`, `${JSON.stringify(recipe.environment, null, 2)}\n`)

  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  const kilobytes = Math.round(statSync(library).size / 1024)
  print(report.linked ? `built ${library} (${kilobytes} KiB) in ${seconds} s` : `${library} is up to date`)
  return true
}

async function main(): Promise<number> {
  // Commands and stamps use paths relative to the repository, so a moved checkout stays up to date.
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
    console.error("build: the backends above could not be built")
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
