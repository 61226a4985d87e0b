/** Pulls: a model that is not served yet is found, downloaded if need be, and served from then on. */

import type { StoreEvent } from "../../../store/fetch-file.ts"
import type { ModelFinder, ServerState } from "../../http/context.ts"
import { ApiError, invalidRequest } from "../../http/errors.ts"
import type { ModelSpec } from "../../pool/entry.ts"
import type { ModelPool } from "../../pool/pool.ts"
import type { PullProgress } from "./manage-schema.ts"

/** @throws ApiError 403 where the server's command line does not allow requests to change its models. */
export function finderOf({ findModel }: ServerState): ModelFinder {
  if (findModel !== undefined) return findModel
  throw new ApiError(
    403,
    "invalid_request_error",
    "This server serves the models that it was started with. Start it with --allow-pull to let requests change them, or name the model on its command line: rocmforge serve MODEL…",
    null,
    "models_are_fixed",
  )
}

/** Whether a model has this name, and not only because any name means one. */
export const isServed = (models: ModelPool, name: string): boolean =>
  models.models.some((entry) =>
    [entry.name, ...entry.aliases].some((known) => known === name || `${known}:latest` === name),
  )

/** A file on the server's disk, which requests must not reach. */
const PATH = /^[./~\\]|^[a-zA-Z]:|\.\.|\.gguf$|\//

/** A name as the store knows it: `hf.co/owner/repo` is on the hub. @throws ApiError 400 for a path */
export function storeName(name: string): string {
  const [, onHub] = /^(?:https?:\/\/)?(?:hf\.co|huggingface\.co)\/(.+)$/.exec(name) ?? []
  const found = (onHub === undefined ? name : `hf:${onHub}`).replace(/:latest$/, "")
  if (!found.startsWith("hf:") && PATH.test(found))
    throw invalidRequest(
      "'model': a model is pulled by a known name, or from the hub as hf.co/owner/repo or hf.co/owner/repo/file.gguf.",
      "model",
      "invalid_value",
    )
  return found
}

interface Pull {
  /** The model's name in the store or on the hub. */
  readonly asked: string
  /** The name by which the client asked for it. */
  readonly name: string
  readonly signal: AbortSignal
}

/** Finds a model and adds it to those that are served, also under the name that was asked for. */
export async function* pulling(
  models: ModelPool,
  find: ModelFinder,
  { asked, name, signal }: Pull,
): AsyncGenerator<PullProgress> {
  yield { status: "pulling manifest" }
  const lines = new Lines()
  const found = find(asked, { onProgress: (event) => lines.note(event), signal }).catch((cause: unknown) => {
    throw new ApiError(
      404,
      "invalid_request_error",
      cause instanceof Error ? cause.message : String(cause),
      "model",
      "pull_failed",
    )
  })
  const ended = found.then(
    () => lines.end(),
    () => lines.end(),
  )
  for await (const line of lines) yield line
  await ended
  serve(models, await found, name)
  yield { status: "success" }
}

function serve(models: ModelPool, spec: ModelSpec, asked: string): void {
  const name = asked.replace(/:latest$/, "")
  if (!isServed(models, spec.name)) models.add({ ...spec, aliases: spec.name === name ? [] : [name] })
  else if (!isServed(models, name)) models.alias(name, spec.name)
}

/** Events of a download as lines of progress. Where several wait, the last one is sent. */
class Lines implements AsyncIterable<PullProgress> {
  #latest: PullProgress | undefined
  #file = { label: "", total: undefined as number | undefined }
  #ended = false
  #wake = () => {}

  note(event: StoreEvent): void {
    if (event.type === "end") return
    if (event.type === "start") this.#file = event
    const { label, total } = this.#file
    this.#latest =
      event.type === "note"
        ? { status: event.message }
        : { status: `pulling ${label}`, digest: label, ...(total !== undefined && { total }), completed: event.done }
    this.#wake()
  }

  end(): void {
    this.#ended = true
    this.#wake()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<PullProgress> {
    for (;;) {
      const line = this.#latest
      this.#latest = undefined
      if (line !== undefined) yield line
      else if (this.#ended) return
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
    }
  }
}
