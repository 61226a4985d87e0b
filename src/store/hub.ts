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

/** `HF_ENDPOINT` (a mirror) and `HF_TOKEN` (gated and private models). */
export function hubFromEnvironment(env: Environment): Hub {
  const url = (env.HF_ENDPOINT || HUB_URL).replace(/\/+$/, "")
  if (!/^https?:\/\/[^/]+/.test(url)) throw new StoreError(`HF_ENDPOINT is not an http(s) address: ${url}`)
  return { url, token: env.HF_TOKEN || undefined }
}

export const hubName = (hub: Hub): string => new URL(hub.url).host

/** Address and headers of one file. Authorization stays with the hub: fetch drops it when a redirect leaves the origin. */
export function hubFile(hub: Hub, repo: string, revision: string, path: string) {
  const encoded = path.split("/").map(encodeURIComponent).join("/")
  const headers: Record<string, string> = hub.token ? { Authorization: `Bearer ${hub.token}` } : {}
  return { url: `${hub.url}/${repo}/resolve/${encodeURIComponent(revision)}/${encoded}`, headers }
}

const credentials = (hub: Hub) => ({
  hubUrl: hub.url,
  ...(hub.token ? { accessToken: hub.token } : {}),
  // The package only calls it; Bun's `fetch` type also carries `preconnect`.
  fetch: fetchHeaders as typeof fetch,
})

/** Size and SHA-256 (from LFS) of a file on the hub's main branch. @throws ModelNotFoundError when it is not there. */
export async function hubFileInfo(hub: Hub, repo: string, path: string): Promise<Expected> {
  const infos = await asked(hub, repo, () => pathsInfo({ repo, paths: [path], ...credentials(hub) }))
  const info = infos.find((entry) => entry.path === path && entry.type === "file")
  if (!info) throw new ModelNotFoundError(`${hubName(hub)} has no file ${path} in ${repo}`)
  return { bytes: info.lfs?.size ?? info.size, sha256: info.lfs?.oid }
}

/** The one GGUF model of a repository (the first file of a split one). @throws ModelNotFoundError listing what there is. */
export async function onlyModelOf(hub: Hub, repo: string): Promise<string> {
  const files = await asked(hub, repo, async () => {
    const found: string[] = []
    for await (const entry of listFiles({ repo, recursive: true, ...credentials(hub) })) {
      if (entry.type === "file" && entry.path.endsWith(".gguf")) found.push(entry.path)
    }
    return found
  })
  const models = files.filter((path) => splitFiles(path)[0] === path)
  const [only, ...others] = models
  if (only === undefined) throw new ModelNotFoundError(`${repo} on ${hubName(hub)} holds no .gguf file`)
  if (others.length === 0) return only
  const list = models.map((path) => `  hf:${repo}/${path}`).join("\n")
  throw new ModelNotFoundError(`${repo} holds ${models.length} models; name one:\n${list}`)
}

async function asked<T>(hub: Hub, repo: string, question: () => Promise<T>): Promise<T> {
  try {
    return await question()
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
      throw new StoreError(`HF_TOKEN is not a hub token: ${error.message}`)
    }
    throw error
  }
}
