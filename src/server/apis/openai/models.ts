import { Elysia } from "elysia"
import type { ServerState } from "../../http/context.ts"
import { responseBody } from "../../http/documented.ts"
import { answerErrors } from "../../http/errors.ts"
import { endpoint } from "../../http/openapi.ts"
import type { PoolEntry } from "../../pool/entry.ts"
import { statusOf } from "../../pool/status.ts"
import { type ModelBody, modelBody, modelList } from "./models-schema.ts"
import { openAiError } from "./wire.ts"

/** `GET /v1/models` and `GET /v1/models/{model}`, whose name may contain slashes, escaped or not. */
export const modelRoutes = ({ models, startedAt }: ServerState) =>
  new Elysia({ prefix: "/v1/models" })
    .onError(answerErrors(openAiError))
    .get("", () => ({ object: "list" as const, data: models.models.map((model) => describe(model, startedAt)) }), {
      response: { 200: responseBody(modelList) },
      detail: endpoint({
        tag: "Models",
        summary: "The models served, and their state",
        response: modelList,
        errors: {},
      }),
    })
    .get("/:model", ({ params }) => describe(models.get(params.model), startedAt), {
      response: { 200: responseBody(modelBody) },
      detail: endpoint({ tag: "Models", summary: "One model", response: modelBody, errors: { 404: "No such model." } }),
    })
    .get("/*", ({ params }) => describe(models.get(unescaped(params["*"])), startedAt), {
      response: { 200: responseBody(modelBody) },
      detail: { hide: true },
    })

/** Decodes the rest of a path, which is as the client sent it. A malformed escape stays. */
function unescaped(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}

function describe(managed: PoolEntry, startedAt: Date): ModelBody {
  const { id, arch, state, reason, loaded, loadedAt, lastUsed } = statusOf(managed)
  return {
    id,
    object: "model",
    created: seconds(startedAt),
    owned_by: "rocmforge",
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
