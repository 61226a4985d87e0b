/**
 * Compiles and links only what changed. Each output has a stamp beside it: the command that made it, and a hash of every file it was made
 * from, including the headers that the compiler lists. So a checkout or a changed flag causes a new build, and a `touch` does not. Outputs
 * are renamed into place, so a process that has the old library open keeps the old file.
 */

import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs"
import { availableParallelism } from "node:os"
import { dirname, join } from "node:path"
import type { CodeUnit, Recipe, Unit } from "./backends.ts"
import { type CodeFile, codeObjectsAssembly } from "./code-objects.ts"
import { type CommandResult, runCommand } from "./command.ts"

/** A step of the build failed. The message contains the output of the compiler or linker. */
export class BuildError extends Error {
  override name = "BuildError"
}

interface BuildReport {
  compiled: number
  linked: boolean
}

interface Stamp {
  command: string
  inputs: Record<string, string>
  /** The compiler printed warnings. With `werror` such an output counts as stale. */
  warned: boolean
}

interface BuildOptions {
  recipe: Recipe
  /** Folder for object files, for example `build/obj/cpu`. */
  objectFolder: string
  /** Path of the shared library. */
  library: string
  force: boolean
  /** Treats compiler warnings as errors, including those of an earlier run. */
  werror: boolean
  /** Receives progress messages and the warnings of compilers. */
  print: (line: string) => void
}

/** Builds `library` if it is stale. @throws BuildError when a command fails; outputs that are already finished stay valid */
export async function buildLibrary(options: BuildOptions): Promise<BuildReport> {
  const { recipe, objectFolder, library, force } = options
  const host = recipe.units.map((unit) => ({
    unit,
    object: join(objectFolder, `${unit.source.replace(/\.\w+$/, "")}.o`),
  }))
  const device = deviceJobs(recipe, objectFolder)
  const compiled = await compileStale([...device, ...host], options)

  const objects = host.map((job) => job.object)
  if (recipe.device) {
    const files = device.map(({ unit, object }) => ({ unit: unit.unit, arch: unit.arch, path: object }))
    objects.push(await embed(recipe, recipe.device.assemble, files, options))
  }
  const linkCommand = [recipe.linkPreferred ?? recipe.link, objects].flat().join(" ")
  if (!force && compiled === 0 && isFresh(library, linkCommand, false)) return { compiled: 0, linked: false }
  await link(recipe, objects, library, linkCommand)
  return { compiled, linked: true }
}

/** Compiles only the device code of a recipe, so that it can be inspected without building the library. */
export async function compileDevice(
  options: Omit<BuildOptions, "library">,
): Promise<{ unit: CodeUnit; object: string }[]> {
  const device = deviceJobs(options.recipe, options.objectFolder)
  await compileStale(device, options)
  return device
}

function deviceJobs(recipe: Recipe, objectFolder: string): { unit: CodeUnit; object: string }[] {
  return (recipe.device?.units ?? []).map((unit) => ({ unit, object: join(objectFolder, unit.output) }))
}

/** Compiles the stale jobs; returns their number. */
async function compileStale(
  jobs: { unit: Unit; object: string }[],
  options: Omit<BuildOptions, "library">,
): Promise<number> {
  const { recipe, force, werror, print } = options
  const stale = jobs.filter((job) => force || !isFresh(job.object, compileCommand(recipe, job.unit), werror))
  if (stale.length > 0) print(`compiling ${stale.length} of ${jobs.length} files with ${recipe.toolchain}`)
  await inParallel(stale, (job) => compile(recipe, job.unit, job.object, options))
  return stale.length
}

/** Assembles the device code into an object file, if that is stale; returns its path. */
async function embed(recipe: Recipe, assemble: string[], files: CodeFile[], options: BuildOptions): Promise<string> {
  const source = join(options.objectFolder, "code-objects.s")
  const object = join(options.objectFolder, "code-objects.o")
  const text = codeObjectsAssembly(files)
  if (!existsSync(source) || readFileSync(source, "utf8") !== text) writeFileSync(source, text)
  const unit = { source, command: assemble }
  const command = compileCommand(recipe, unit)
  if (!options.force && isFresh(object, command, options.werror)) return object
  const started = Date.now()
  const result = await runCommand([...assemble, "-o", object, source])
  if (result.code !== 0) throw new BuildError(describeFailure(`assembling ${source}`, result))
  writeStamp(object, { command, inputs: [source], warned: false }, started + 1000)
  return object
}

const compileCommand = (recipe: Recipe, unit: Unit) => [recipe.toolchain, ...unit.command, unit.source].join(" ")

async function compile(
  recipe: Recipe,
  unit: Unit,
  object: string,
  options: Omit<BuildOptions, "library">,
): Promise<void> {
  mkdirSync(dirname(object), { recursive: true })
  rmSync(stampPath(object), { force: true })
  const started = Date.now()
  const temporary = `${object}.${process.pid}`
  const depfile = `${temporary}.d`
  const result = await runCommand([
    ...unit.command,
    ...(options.werror ? strictFlags(unit) : []),
    "-MMD",
    "-MF",
    depfile,
    "-o",
    temporary,
    unit.source,
  ])
  if (result.code !== 0) {
    for (const path of [temporary, depfile]) rmSync(path, { force: true })
    throw new BuildError(describeFailure(`compiling ${unit.source}`, result))
  }
  const warned = result.stderr.trim() !== ""
  if (warned) options.print(result.stderr.trimEnd())
  const inputs = parseDepfile(readFileSync(depfile, "utf8"))
  rmSync(depfile)
  renameSync(temporary, object)
  writeStamp(object, { command: compileCommand(recipe, unit), inputs, warned }, started)
}

const strictFlags = (unit: Unit | CodeUnit): string[] => ("strict" in unit ? unit.strict : ["-Werror"])

async function link(recipe: Recipe, objects: string[], library: string, linkCommand: string): Promise<void> {
  mkdirSync(dirname(library), { recursive: true })
  const started = Date.now()
  const temporary = `${library}.${process.pid}`
  const run = (command: string[]) => runCommand([...command, "-o", temporary, ...objects])
  let result = await run(recipe.linkPreferred ?? recipe.link)
  if (result.code !== 0 && recipe.linkPreferred) result = await run(recipe.link)
  if (result.code !== 0) {
    rmSync(temporary, { force: true })
    throw new BuildError(describeFailure(`linking ${library}`, result))
  }
  renameSync(temporary, library)
  writeStamp(library, { command: linkCommand, inputs: objects, warned: false }, started)
}

function describeFailure(what: string, result: CommandResult): string {
  const output = `${result.stdout}${result.stderr}`.trimEnd()
  return `${what} failed (exit code ${result.code})\n${output}`
}

const stampPath = (output: string) => `${output}.stamp.json`

function isFresh(output: string, command: string, werror: boolean): boolean {
  if (!existsSync(output) || !existsSync(stampPath(output))) return false
  try {
    const stamp = JSON.parse(readFileSync(stampPath(output), "utf8")) as Stamp
    if (stamp.command !== command || (stamp.warned && werror)) return false
    return Object.entries(stamp.inputs).every(([path, hash]) => hashFile(path) === hash)
  } catch {
    return false // the stamp is unreadable or a header no longer exists: build again
  }
}

/** Writes the stamp of an output, unless an input changed during the build: then the output may be built from the old input. */
function writeStamp(
  output: string,
  { command, inputs, warned }: { command: string; inputs: string[]; warned: boolean },
  startedMs: number,
): void {
  if (inputs.some((path) => statSync(path).mtimeMs >= startedMs && !path.endsWith(".o"))) return
  const stamp: Stamp = { command, inputs: Object.fromEntries(inputs.map((path) => [path, hashFile(path)])), warned }
  const temporary = `${stampPath(output)}.${process.pid}`
  writeFileSync(temporary, JSON.stringify(stamp))
  renameSync(temporary, stampPath(output))
}

const hashFile = (path: string) => Bun.hash(readFileSync(path)).toString(16)

/** The prerequisites of a Makefile rule in the form that compilers write: `object: a.cpp b.h \` with `\ ` for a space in a name. */
export function parseDepfile(text: string): string[] {
  const rule = text.replace(/\\\r?\n/g, " ")
  const prerequisites = rule.slice(rule.indexOf(": ") + 2).trim()
  return prerequisites.split(/(?<!\\)\s+/).map((path) => path.replaceAll("\\ ", " "))
}

async function inParallel<T>(items: T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items]
  const worker = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item)
  }
  const results = await Promise.allSettled(Array.from({ length: availableParallelism() }, worker))
  const failed = results.filter((result) => result.status === "rejected").map((result) => result.reason)
  if (failed.length === 1) throw failed[0]
  if (failed.length > 1) throw new BuildError(failed.map((error) => String(error?.message ?? error)).join("\n\n"))
}
