import { Elysia } from "elysia"
import type { ServerState } from "../../http/context.ts"
import { responseBody } from "../../http/documented.ts"
import { answerErrors } from "../../http/errors.ts"
import { endpoint } from "../../http/openapi.ts"
import type { PoolEntry } from "../../pool/entry.ts"
import { statusOf } from "../../pool/status.ts"
import { listReadable } from "../ollama/describe.ts"
import { type ModelBody, type ModelList, modelBody, modelList } from "./models-schema.ts"
import { openAiError } from "./wire.ts"

/** `GET /v1/models` and `GET /v1/models/{model}`, whose name may contain slashes, escaped or not. */
export const modelRoutes = ({ models, startedAt }: ServerState) => {
  const one = (name: string): ModelBody => describe(models.get(name), name, startedAt)
  return new Elysia({ prefix: "/v1/models" })
    .onError(answerErrors(openAiError))
    .get("", () => listModels(models.models, startedAt), {
      response: { 200: responseBody(modelList) },
      detail: endpoint({
        tag: "Models",
        summary: "The models served, and their state",
        response: modelList,
        errors: {},
      }),
    })
    .get("/:model", ({ params }) => one(params.model), {
      response: { 200: responseBody(modelBody) },
      detail: endpoint({ tag: "Models", summary: "One model", response: modelBody, errors: { 404: "No such model." } }),
    })
    .get("/*", ({ params }) => one(unescaped(params["*"])), {
      response: { 200: responseBody(modelBody) },
      detail: { hide: true },
    })
}

async function listModels(entries: readonly PoolEntry[], startedAt: Date): Promise<ModelList> {
  const data = entries.flatMap((entry) =>
    [entry.name, ...entry.aliases].map((name) => describe(entry, name, startedAt)),
  )
  return {
    object: "list",
    data,
    has_more: false,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    models: await listReadable(entries),
  }
}

/** Decodes the rest of a path, which is as the client sent it. A malformed escape stays. */
function unescaped(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}

/** @param name A name of the model, which becomes the id. */
function describe(managed: PoolEntry, name: string, startedAt: Date): ModelBody {
  const { id, arch, state, reason, loaded, loadedAt, lastUsed } = statusOf(managed)
  return {
    id: managed.aliases.includes(name) ? name : id,
    object: "model",
    created: seconds(startedAt),
    owned_by: "rocmforge",
    root: id,
    parent: null,
    max_model_len: loaded?.context_length ?? null,
    type: "model",
    display_name: id,
    created_at: startedAt.toISOString(),
    state,
    reason,
    arch,
    device: loaded?.device ?? null,
    context_length: loaded?.context_length ?? null,
    memory: loaded?.memory ?? null,
    loaded: loadedAt === undefined ? null : seconds(loadedAt),
    last_used: lastUsed === undefined ? null : seconds(lastUsed),
  }
}

const seconds = (date: Date): number => Math.floor(date.getTime() / 1000)
