/** `/v1/responses`: create, retrieve, cancel and delete responses. */

import { Elysia } from "elysia"
import { z } from "zod"
import { readJson } from "../../http/body.ts"
import { exampleModel, leaseModel } from "../../http/context.ts"
import { jsonSchema, requestBody, responseBody } from "../../http/documented.ts"
import { ApiError, answerErrors, invalidRequest } from "../../http/errors.ts"
import { keyOf, runJob } from "../../http/job.ts"
import { noEffect, openObject } from "../../http/lenient.ts"
import { endpoint, GENERATION_ERRORS } from "../../http/openapi.ts"
import { inPath, inQuery, readQuery } from "../../http/query.ts"
import { integer } from "../openai/generation-schema.ts"
import { follow, respondInBackground } from "./background.ts"
import { responsesError } from "./errors.ts"
import { newId } from "./items.ts"
import { jobOptions } from "./request.ts"
import { countInput, RESPONSE_EVENTS, ResponseRun } from "./response-run.ts"
import type { ResponsesState } from "./responses.ts"
import {
  includes,
  inputTokensRequest,
  inputTokensResponse,
  itemList,
  type ResponseBody,
  responseDeleted,
  responseEvent,
  responseRequest,
  responseSchema,
} from "./schema.ts"

const tag = "Responses"
const NOT_FOUND = { 404: "No such response under this API key: it was not stored, was deleted, or is too old." }
const BAD_QUERY = { 400: "A query parameter is not valid." }

const flags = z.enum(["true", "false"])
const retrieveQuery = openObject("query", {
  include: includes.optional(),
  include_obfuscation: noEffect("hides the lengths of tokens from observers of the network"),
  stream: flags.default("false"),
  starting_after: z.coerce
    .number()
    .pipe(integer(0, 2 ** 31 - 1))
    .optional(),
}).refine(({ stream, starting_after }) => stream === "true" || starting_after === undefined, {
  path: ["starting_after"],
  error: "needs stream to be true",
})
const listQuery = openObject("query", {
  include: includes.optional(),
  limit: z.coerce.number().pipe(integer(1, 100)).default(20),
  order: z.enum(["asc", "desc"]).default("desc"),
  after: z.string().optional(),
})

const FLAG = { type: "string" as const, enum: ["true", "false"] }
const INCLUDE = inQuery(
  "include",
  "Has no effect: a response keeps everything that it was created with.",
  jsonSchema(includes, "input"),
)

export const responseRoutes = (state: ResponsesState) => {
  const { responses } = state
  const parse = [({ request }: { request: Request }) => readJson(request, state.maxBodyBytes), "json" as const]
  const owner = (request: Request): string => keyOf(request.headers) ?? ""
  const find = (id: string, request: Request) => {
    const found = responses.find(id, owner(request))
    if (found === undefined) throw notFound(id)
    return found
  }
  /** Cancels a background response. @throws ApiError 400 for a response that is generated on an open connection. */
  const stop = async (id: string, request: Request) => {
    const running = responses.running(id, owner(request))
    if (running === undefined) return
    if (running.ended === undefined) throw onConnection(id)
    running.controller.abort()
    await running.ended
  }
  const { count, ageMs } = responses.store.limits
  return new Elysia({ prefix: "/v1/responses" })
    .onError(answerErrors(responsesError))
    .post(
      "",
      ({ body, request, server }) => {
        if (body.background) {
          // Loading the model can take longer than the idle timeout.
          server?.timeout(request, 0)
          return respondInBackground(state, body, request)
        }
        return runJob<ResponseBody>(state, jobOptions(body), { request, server }, async (model, context) => {
          const run = await ResponseRun.prepare(responses, model, { ...context, id: newId("resp") }, body)
          return {
            controller: context.controller,
            format: RESPONSE_EVENTS,
            complete: () => run.complete(),
            chunks: () => run.events(),
          }
        })
      },
      {
        parse,
        body: requestBody(responseRequest, {
          model: exampleModel(state),
          input: "Why is the sky blue?",
          max_output_tokens: 64,
          temperature: 0,
        }),
        response: { 200: responseBody(responseSchema) },
        detail: endpoint({
          tag,
          summary: "Create a response",
          description:
            "Stored responses can be retrieved and continued with the API key that created them. This server keeps at most " +
            `${count} of them, and none longer than ${ageMs / 86_400_000} days without use.`,
          response: responseSchema,
          event: responseEvent,
          errors: GENERATION_ERRORS,
        }),
      },
    )
    .post(
      "/input_tokens",
      async ({ body, request }) => {
        using lease = await leaseModel(state, body.model, request.signal)
        const input_tokens = await countInput(responses, lease.model, owner(request), body)
        return { object: "response.input_tokens" as const, input_tokens }
      },
      {
        parse,
        body: requestBody(inputTokensRequest, { model: exampleModel(state), input: "Why is the sky blue?" }),
        response: { 200: responseBody(inputTokensResponse) },
        detail: endpoint({
          tag,
          summary: "Count the tokens that a response's prompt would have",
          response: inputTokensResponse,
          errors: GENERATION_ERRORS,
        }),
      },
    )
    .get(
      "/:id",
      ({ params, request, server }) => {
        const { stream, starting_after } = readQuery(request, retrieveQuery)
        const { response } = find(params.id, request)
        if (stream === "false") return response
        const log = responses.log(params.id, owner(request))
        if (log === undefined) throw notStreamed(params.id)
        server?.timeout(request, 0)
        return follow(log, state.pingMs, starting_after)
      },
      {
        response: { 200: responseBody(responseSchema) },
        detail: {
          ...endpoint({
            tag,
            summary: "Retrieve a response, also while it is generated",
            response: responseSchema,
            event: responseEvent,
            errors: { ...BAD_QUERY, ...NOT_FOUND },
          }),
          parameters: [
            inPath("id", "The response."),
            inQuery("stream", "true: its events, if it was streamed in the background, and not long ago.", FLAG),
            inQuery("starting_after", "Only the events after this number.", { type: "integer", minimum: 0 }),
            INCLUDE,
          ],
        },
      },
    )
    .delete(
      "/:id",
      async ({ params: { id }, request }) => {
        await stop(id, request)
        if (!responses.delete(id, owner(request))) throw notFound(id)
        return { id, object: "response" as const, deleted: true as const }
      },
      {
        response: { 200: responseBody(responseDeleted) },
        detail: endpoint({
          tag,
          summary: "Delete a response",
          response: responseDeleted,
          errors: { 400: "The response is being generated on an open connection.", ...NOT_FOUND },
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
          summary: "Cancel a background response",
          response: responseSchema,
          errors: { 400: "The response is not a background response.", ...NOT_FOUND },
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
            description: "The input of its own request, without the responses that it continues.",
            response: itemList,
            errors: { ...BAD_QUERY, ...NOT_FOUND },
          }),
          parameters: [
            inPath("id", "The response."),
            inQuery("limit", "Most items to list, 1 to 100. Default 20.", {
              type: "integer",
              minimum: 1,
              maximum: 100,
            }),
            inQuery("order", "desc (default): the last item first.", { type: "string", enum: ["asc", "desc"] }),
            inQuery("after", "Only the items after the one with this id.", { type: "string" }),
            INCLUDE,
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
const notStreamed = (id: string): ApiError =>
  invalidRequest(
    `'stream': the response '${id}' was not streamed in the background, or ended long ago; retrieve it without stream.`,
    "stream",
    "not_streamed",
  )
const onConnection = (id: string): ApiError =>
  invalidRequest(
    `The response '${id}' is not a background response; close its connection to stop it.`,
    "id",
    "not_in_background",
  )
