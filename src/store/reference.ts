import { ModelNotFoundError } from "./errors.ts"

/** A model on the hub: `hf:owner/repo/path/to/file.gguf`, or `hf:owner/repo` for a repository with one model. */
export interface HubReference {
  repo: string
  /** Path in the repository; `undefined`: the only GGUF model there. */
  path: string | undefined
}

const SEGMENT = /^[A-Za-z0-9_][A-Za-z0-9._+@ -]*$/

/**
 * Parses a hub name; returns `undefined` for a text without `hf:`.
 * @throws ModelNotFoundError for a malformed name (empty or dotted segments could lead out of the store's folder).
 */
export function parseHubReference(text: string): HubReference | undefined {
  if (!text.startsWith("hf:")) return undefined
  const segments = text.slice(3).split("/")
  const [owner, name, ...rest] = segments
  if (!owner || !name || !segments.every((segment) => SEGMENT.test(segment))) {
    throw new ModelNotFoundError(
      `"${text}" is not a hub name; write hf:owner/repo/file.gguf, or hf:owner/repo for a repository with one model`,
    )
  }
  return { repo: `${owner}/${name}`, path: rest.length > 0 ? rest.join("/") : undefined }
}

/** The names of all files of a split model, in order, from the name of one of them; for other names, the name alone. */
export function splitFiles(path: string): string[] {
  const match = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/.exec(path)
  if (!match) return [path]
  const count = Number(match[3])
  if (count < 1) return [path]
  return Array.from({ length: count }, (_, i) => `${match[1]}-${String(i + 1).padStart(5, "0")}-of-${match[3]}.gguf`)
}
