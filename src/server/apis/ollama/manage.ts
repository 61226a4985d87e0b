/** Ollama's routes that change which models are served: `/api/pull`, `/api/copy`, `/api/create` and `/api/delete`. */

import { Elysia } from "elysia"
import type { ServerState } from "../../http/context.ts"
import { exampleModel } from "../../http/context.ts"
import { requestBody, responseBody } from "../../http/documented.ts"
import { ApiError, answerErrors, invalidRequest } from "../../http/errors.ts"
import { endpoint } from "../../http/openapi.ts"
import { eventStream } from "../../http/stream.ts"
import { JSON_LINES_TYPE, jsonLines } from "./answer.ts"
import { FIELDS, ollamaError } from "./errors.ts"
import {
  copyRequest,
  createRequest,
  deleteRequest,
  type PullProgress,
  pullProgress,
  pullRequest,
} from "./manage-schema.ts"
import { finderOf, isServed, pulling, storeName } from "./pull.ts"
import { readOllamaJson } from "./request.ts"
import { ollamaErrorSchema } from "./schema.ts"

const SUCCESS: PullProgress = { status: "success" }

export const manageRoutes = (state: ServerState) => {
  const { models } = state
  const parse = [({ request }: { request: Request }) => readOllamaJson(request, state.maxBodyBytes), "json" as const]
  const docs = {
    tag: "Ollama",
    failure: ollamaErrorSchema,
    errors: {
      400: "A field is not valid.",
      403: "Requests cannot change the models of this server.",
      404: "No such model.",
      409: "The name belongs to another model.",
    },
    response: pullProgress,
    event: pullProgress,
    eventType: JSON_LINES_TYPE,
  }
  const hidden = { hide: true }
  const model = exampleModel(state)
  return new Elysia()
    .onError(answerErrors(ollamaError(FIELDS)))
    .post(
      "/api/pull",
      ({ body, request }) => {
        const name = nameIn(body)
        if (isServed(models, name)) return respond(state, request, body.stream, served)
        const [find, asked] = [finderOf(state), storeName(name)]
        return respond(state, request, body.stream, (signal) => pulling(models, find, { asked, name, signal }))
      },
      {
        parse,
        body: requestBody(pullRequest, { model, stream: false }),
        response: { 200: responseBody(pullProgress) },
        detail: endpoint({ ...docs, summary: "Serve one more model, which is downloaded if need be" }),
      },
    )
    .post(
      "/api/create",
      ({ body, request }) => {
        finderOf(state)
        models.alias(nameIn(body), body.from)
        return respond(state, request, body.stream, alone)
      },
      {
        parse,
        body: requestBody(createRequest, { model: "mine", from: model, stream: false }),
        response: { 200: responseBody(pullProgress) },
        // As the next two, left out of the reference, whose examples work on every server.
        detail: hidden,
      },
    )
    .post(
      "/api/copy",
      ({ body }) => {
        finderOf(state)
        models.alias(body.destination, body.source)
        return new Response(null)
      },
      { parse, body: requestBody(copyRequest, { source: model, destination: "mine" }), detail: hidden },
    )
    .delete(
      "/api/delete",
      async ({ body }) => {
        finderOf(state)
        await models.remove(nameIn(body))
        return new Response(null)
      },
      { parse, body: requestBody(deleteRequest, { model: "mine" }), detail: hidden },
    )
    .post("/api/push", noUploads, { detail: hidden })
    .head("/api/blobs/:digest", noUploads, { detail: hidden })
    .post("/api/blobs/:digest", noUploads, { detail: hidden })
}

function nameIn({ model, name }: { model?: string | null; name?: string | null }): string {
  const given = model || name
  if (given) return given
  throw invalidRequest("'model' is required.", "model", "missing_required_parameter")
}

const noUploads = () => {
  throw new ApiError(
    501,
    "invalid_request_error",
    "Models are not pushed or uploaded here; they are plain GGUF files, so copy those.",
    null,
    "not_implemented",
  )
}

async function* served(): AsyncGenerator<PullProgress> {
  yield { status: "pulling manifest" }
  yield { status: "the model is served already" }
  yield SUCCESS
}

async function* alone(): AsyncGenerator<PullProgress> {
  yield SUCCESS
}

type LinesOf = (signal: AbortSignal) => AsyncGenerator<PullProgress>

/** Sends lines of progress as a stream, or the last of them. A client that disconnects ends the work. */
const respond = (
  state: ServerState,
  request: Request,
  streamed: boolean | null | undefined,
  lines: LinesOf,
): Promise<PullProgress> | Promise<Response> =>
  (streamed ?? true) ? streamOf(state, request, lines) : lastOf(lines(request.signal))

function streamOf({ pingMs }: ServerState, { signal }: Request, lines: LinesOf): Promise<Response> {
  const controller = new AbortController()
  const held = new DisposableStack()
  // A stream that has nothing to write learns from the request that its client is gone.
  return eventStream(lines(AbortSignal.any([controller.signal, signal])), {
    controller,
    pingMs,
    format: jsonLines(FIELDS),
    held,
  })
}

async function lastOf(lines: AsyncGenerator<PullProgress>): Promise<PullProgress> {
  let last = SUCCESS
  for await (const line of lines) last = line
  return last
}
