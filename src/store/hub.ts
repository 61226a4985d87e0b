import { HUB_URL, HubApiError, listFiles, pathsInfo } from "@huggingface/hub"
import type { Expected } from "./checksum.ts"
import { DownloadError, ModelNotFoundError, StoreError } from "./errors.ts"
import type { Environment } from "./home.ts"
import { fetchHeaders } from "./http.ts"
import { splitFiles } from "./reference.ts"

interface Hub {
  url: string
  token: string | undefined
}

/** Reads `HF_ENDPOINT` (a mirror) and `HF_TOKEN` (for gated and private models). */
export function hubFromEnvironment(env: Environment): Hub {
  const url = (env.HF_ENDPOINT || HUB_URL).replace(/\/+$/, "")
  if (!/^https?:\/\/[^/]+/.test(url))
    throw new StoreError(`HF_ENDPOINT is "${url}", which is not an http or https address; correct or unset it`)
  return { url, token: env.HF_TOKEN || undefined }
}

export const hubName = (hub: Hub): string => new URL(hub.url).host

/** Address and headers of a file. The token reaches only the hub: fetch drops it when a redirect leaves the origin. */
export function hubFile(hub: Hub, repo: string, revision: string, path: string) {
  const encoded = path.split("/").map(encodeURIComponent).join("/")
  const headers: Record<string, string> = hub.token ? { Authorization: `Bearer ${hub.token}` } : {}
  return { url: `${hub.url}/${repo}/resolve/${encodeURIComponent(revision)}/${encoded}`, headers }
}

const credentials = (hub: Hub) => ({
  hubUrl: hub.url,
  ...(hub.token ? { accessToken: hub.token } : {}),
  // The package only calls `fetch`; Bun's type also has `preconnect`.
  fetch: fetchHeaders as typeof fetch,
})

/** Size and SHA-256 (from LFS) of a file on the hub's main branch. @throws ModelNotFoundError if it does not exist. */
export async function hubFileInfo(hub: Hub, repo: string, path: string): Promise<Expected> {
  const infos = await callHub(hub, repo, () => pathsInfo({ repo, paths: [path], ...credentials(hub) }))
  const info = infos.find((entry) => entry.path === path && entry.type === "file")
  if (!info) throw new ModelNotFoundError(`${hubName(hub)} has no file ${path} in ${repo}`)
  return { bytes: info.lfs?.size ?? info.size, sha256: info.lfs?.oid }
}

/** Path of the only GGUF model in a repository (the first file of a split model). @throws ModelNotFoundError listing the models, if there is not exactly one. */
export async function onlyModelOf(hub: Hub, repo: string): Promise<string> {
  const files = await callHub(hub, repo, async () => {
    const found: string[] = []
    for await (const entry of listFiles({ repo, recursive: true, ...credentials(hub) })) {
      if (entry.type === "file" && entry.path.endsWith(".gguf")) found.push(entry.path)
    }
    return found
  })
  const models = files.filter((path) => splitFiles(path)[0] === path)
  const [only, ...others] = models
  if (only === undefined)
    throw new ModelNotFoundError(`${repo} on ${hubName(hub)} contains no .gguf file; name another repository`)
  if (others.length === 0) return only
  const list = models.map((path) => `  hf:${repo}/${path}`).join("\n")
  throw new ModelNotFoundError(`${repo} contains ${models.length} models; name one of them:\n${list}`)
}

/** Calls the hub. @throws DownloadError or StoreError for its errors, with the remedy */
async function callHub<T>(hub: Hub, repo: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    if (error instanceof HubApiError) {
      const hint = error.statusCode === 401 || error.statusCode === 403 || error.statusCode === 404
      throw new DownloadError(
        `${hubName(hub)} answered ${error.statusCode} for ${repo}${hint ? "; check the name, and set HF_TOKEN if it is private or gated" : ""}`,
        "unavailable",
        error.statusCode,
      )
    }
    if (error instanceof TypeError && error.message.includes("access token")) {
      throw new StoreError(`HF_TOKEN is not a valid hub token: ${error.message}; correct or unset it`)
    }
    throw error
  }
}
