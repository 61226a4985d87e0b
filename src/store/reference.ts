import { ModelNotFoundError } from "./errors.ts"

/** `hf:owner/repo/path/to/file.gguf`, or `hf:owner/repo` when the repository holds one model. */
export interface HubReference {
  repo: string
  /** Path inside the repository; `undefined`: the only GGUF model there. */
  path: string | undefined
}

const SEGMENT = /^[A-Za-z0-9_][A-Za-z0-9._+@ -]*$/

/**
 * Reads a hub name; `undefined` when the text is not one.
 * @throws ModelNotFoundError for an `hf:` name that is malformed (empty or dotted segments could leave the store's folder).
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

/** Every file of a split model, in order, from the name of any of them; a file that is not split stands alone. */
export function splitFiles(path: string): string[] {
  const match = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/.exec(path)
  if (!match) return [path]
  const count = Number(match[3])
  if (count < 1) return [path]
  return Array.from({ length: count }, (_, i) => `${match[1]}-${String(i + 1).padStart(5, "0")}-of-${match[3]}.gguf`)
}
