/** `/v1/responses`: make, retrieve, cancel and delete responses. */

import { Elysia } from "elysia"
import { z } from "zod"
import { readJson } from "../body.ts"
import { ApiError, invalidRequest, toApiError, validationError } from "../errors.ts"
import { newId } from "../responses/items.ts"
import { RESPONSE_EVENTS, Responding } from "../responses/respond.ts"
import { requestBody, responseBody } from "../schemas/documented.ts"
import { integer } from "../schemas/generation.ts"
import { responseEvent } from "../schemas/response-events.ts"
import {
  includes,
  itemList,
  type ResponseBody,
  type ResponseRequest,
  responseDeleted,
  responseRequest,
  responseSchema,
} from "../schemas/responses.ts"
import { exampleModel, type ServerState } from "../state.ts"
import { keyOf, runJob, standingOf } from "./job.ts"
import { endpoint, GENERATION_ERRORS } from "./openapi.ts"

const tag = "Responses"
const NOT_FOUND = { 404: "No such response under this API key: it was not stored, was deleted, or is too old." }
const BAD_QUERY = { 400: "A query parameter is not valid." }

const flags = z.enum(["true", "false"])
const retrieveQuery = z.strictObject({
  include: includes.optional(),
  include_obfuscation: flags.exclude(["true"], { error: "not supported; leave it out" }).optional(),
  stream: flags.exclude(["true"], { error: "streaming a response again is not supported yet" }).optional(),
})
const listQuery = z.strictObject({
  include: includes.optional(),
  limit: z.coerce.number().pipe(integer(1, 100)).default(20),
  order: z.enum(["asc", "desc"]).default("desc"),
  after: z.string().optional(),
})

export const responseRoutes = (state: ServerState) => {
  const { responses } = state
  const owner = (request: Request): string => keyOf(request.headers) ?? ""
  const find = (id: string, request: Request) => {
    const found = responses.find(id, owner(request))
    if (found === undefined) throw notFound(id)
    return found
  }
  /** Ends one that is made in the background. @throws ApiError 400 for one that is made for a connection. */
  const stop = async (id: string, request: Request) => {
    const running = responses.running(id, owner(request))
    if (running === undefined) return
    if (running.ended === undefined) throw onConnection(id)
    running.controller.abort()
    await running.ended
  }
  const { count, ageMs } = responses.store.limits
  return new Elysia({ prefix: "/v1/responses" })
    .post(
      "",
      ({ body, request, server }) => {
        if (body.background) {
          // Its model may have to be loaded first.
          server?.timeout(request, 0)
          return inBackground(state, body, request)
        }
        return runJob<ResponseBody>(state, "resp", body, { request, server }, async (model, head) => {
          const responding = await Responding.prepare(responses, model, { ...head, id: newId("resp") }, body)
          return {
            controller: head.controller,
            format: RESPONSE_EVENTS,
            complete: () => responding.complete(),
            chunks: () => responding.events(),
          }
        })
      },
      {
        parse: [({ request }) => readJson(request, state.maxBodyBytes), "json"],
        body: requestBody(responseRequest, {
          model: exampleModel(state),
          input: "Why is the sky blue?",
          max_output_tokens: 64,
          temperature: 0,
        }),
        response: { 200: responseBody(responseSchema) },
        detail: endpoint({
          tag,
          summary: "Make a response",
          description:
            "Stored responses can be retrieved and continued under the API key that made them. This server keeps " +
            `${count} at most, and none longer than ${ageMs / 86_400_000} days without use.`,
          response: responseSchema,
          event: responseEvent,
          errors: GENERATION_ERRORS,
        }),
      },
    )
    .get(
      "/:id",
      ({ params, request }) => {
        readQuery(request, retrieveQuery)
        return find(params.id, request).response
      },
      {
        response: { 200: responseBody(responseSchema) },
        detail: endpoint({
          tag,
          summary: "Retrieve a response, also while it is made",
          response: responseSchema,
          errors: { ...BAD_QUERY, ...NOT_FOUND },
        }),
      },
    )
    .delete(
      "/:id",
      async ({ params: { id }, request }) => {
        await stop(id, request)
        if (!responses.store.delete(id, owner(request))) throw notFound(id)
        return { id, object: "response" as const, deleted: true as const }
      },
      {
        response: { 200: responseBody(responseDeleted) },
        detail: endpoint({
          tag,
          summary: "Delete a response",
          response: responseDeleted,
          errors: { 400: "The response is being made for a connection that is open.", ...NOT_FOUND },
        }),
      },
    )
    .post(
      "/:id/cancel",
      async ({ params: { id }, request }) => {
        if (!find(id, request).response.background) throw onConnection(id)
        await stop(id, request)
        return find(id, request).response
      },
      {
        response: { 200: responseBody(responseSchema) },
        detail: endpoint({
          tag,
          summary: "Stop a response that is made in the background",
          response: responseSchema,
          errors: { 400: "The response was not made in the background.", ...NOT_FOUND },
        }),
      },
    )
    .get(
      "/:id/input_items",
      ({ params, request }) => {
        const { limit, order, after } = readQuery(request, listQuery)
        const { input } = find(params.id, request)
        const items = order === "asc" ? [...input] : [...input].reverse()
        const start = after === undefined ? 0 : items.findIndex(({ id }) => id === after) + 1
        if (after !== undefined && start === 0)
          throw invalidRequest(`'after': there is no item '${after}'.`, "after", "invalid_value")
        const data = items.slice(start, start + limit)
        return {
          object: "list" as const,
          data,
          first_id: data[0]?.id ?? null,
          last_id: data.at(-1)?.id ?? null,
          has_more: start + limit < items.length,
        }
      },
      {
        response: { 200: responseBody(itemList) },
        detail: {
          ...endpoint({
            tag,
            summary: "List the input of a response",
            description: "What its own request gave, without what it goes on from.",
            response: itemList,
            errors: { ...BAD_QUERY, ...NOT_FOUND },
          }),
          parameters: [
            inPath("id", "The response."),
            inQuery("limit", "Items at most, 1 to 100. Default 20.", { type: "integer", minimum: 1, maximum: 100 }),
            inQuery("order", "desc (default): the last item first.", { type: "string", enum: ["asc", "desc"] }),
            inQuery("after", "The items behind the one of this id.", { type: "string" }),
          ],
        },
      },
    )
}

const notFound = (id: string): ApiError =>
  new ApiError(
    404,
    "invalid_request_error",
    `There is no response '${id}' under this API key.`,
    "id",
    "response_not_found",
  )
const onConnection = (id: string): ApiError =>
  invalidRequest(
    `The response '${id}' is not made in the background; close its connection to stop it.`,
    "id",
    "not_in_background",
  )

/** Answers at once. The model is loaded and the request checked before. */
async function inBackground(state: ServerState, body: ResponseRequest, request: Request): Promise<ResponseBody> {
  using held = new DisposableStack()
  // Without the connection's signal: whoever asks may go.
  const { model, controller } = held.use(await state.models.lease(body.model))
  const standing = standingOf(body, request, state)
  const created = Math.floor(Date.now() / 1000)
  const head = { id: newId("resp"), created, model: model.name, controller, standing }
  const responding = await Responding.prepare(state.responses, model, head, body)
  const { running } = responding
  const queued: ResponseBody = { ...structuredClone(running.response), status: "queued" }
  running.ended = runToEnd(responding, held.move())
  return queued
}

async function runToEnd(responding: Responding, held: Disposable): Promise<void> {
  using _ = held
  // A failed generation is in the response; what is thrown is that it could not be stored, which is logged.
  await responding.inBackground().catch(toApiError)
}

/** @throws ApiError 400 */
function readQuery<T extends z.ZodType>(request: Request, schema: T): z.output<T> {
  const query: Record<string, string | string[]> = {}
  const { searchParams } = new URL(request.url, "http://localhost")
  for (const [name, value] of searchParams) {
    const list = /^(include)\[\d*\]$/.exec(name)?.[1] ?? (name === "include" ? name : undefined)
    if (list === undefined) query[name] = value
    else query[list] = [...(query[list] ?? []), value]
  }
  const result = schema.safeParse(query, { reportInput: true })
  if (!result.success) throw validationError(result.error)
  return result.data
}

const inPath = (name: string, description: string) => ({
  name,
  in: "path" as const,
  required: true,
  description,
  schema: { type: "string" as const },
})
const inQuery = (name: string, description: string, schema: object) => ({
  name,
  in: "query" as const,
  required: false,
  description,
  schema,
})
