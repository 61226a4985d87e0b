import { Elysia } from "elysia"
import type { z } from "zod"
import { prepareChat } from "../../chat/chat.ts"
import type { RunContext } from "../../chat/choices.ts"
import { readJson } from "../../http/body.ts"
import { exampleModel, type ServerState } from "../../http/context.ts"
import { requestBody, responseBody } from "../../http/documented.ts"
import { answerErrors } from "../../http/errors.ts"
import { runJob } from "../../http/job.ts"
import { endpoint, GENERATION_ERRORS } from "../../http/openapi.ts"
import { reportsProgress } from "../llama-server/chat-extras.ts"
import { LiveTimings } from "../llama-server/timings.ts"
import { type ChatForm, ChatJob } from "./chat-job.ts"
import { chatChunk, chatRequest, chatResponse } from "./chat-schema.ts"
import { jobOptions, toChatRequest } from "./request.ts"
import { openAiError } from "./wire.ts"

/** Where the route is, and what differs there. */
interface ChatSite extends ChatForm {
  readonly path: `/${string}`
  readonly tag: string
  /** The schema of its errors; default: OpenAI's. */
  readonly failure?: z.ZodType
  readonly readBody: (state: ServerState, request: Request) => Promise<unknown>
  readonly run?: Pick<RunContext, "generator">
}

const OPENAI_SITE: ChatSite = {
  path: "/v1/chat/completions",
  tag: "Generation",
  shape: openAiError,
  readBody: ({ maxBodyBytes }, request) => readJson(request, maxBodyBytes),
  begin: "",
}

/** `POST /v1/chat/completions`, also at another path. */
export const chatRoutes = (state: ServerState, site: ChatSite = OPENAI_SITE) =>
  new Elysia().onError(answerErrors(site.shape)).post(
    site.path,
    ({ body, request, server }) =>
      runJob(state, jobOptions("chatcmpl", body), { request, server }, async (model, context) => {
        const request = toChatRequest(body)
        const live = new LiveTimings()
        const run = { ...context, ...site.run, ...(reportsProgress(body) && { onProgress: live.onProgress }) }
        return new ChatJob(context, await prepareChat(model, run, request), body, request, site, live)
      }),
    {
      parse: [({ request }) => site.readBody(state, request), "json"],
      body: requestBody(chatRequest, {
        model: exampleModel(state),
        messages: [{ role: "user", content: "Why is the sky blue?" }],
        max_completion_tokens: 64,
        temperature: 0,
      }),
      response: { 200: responseBody(chatResponse) },
      detail: endpoint({
        tag: site.tag,
        summary: "Answer a conversation",
        response: chatResponse,
        event: chatChunk,
        errors: GENERATION_ERRORS,
        ...(site.failure && { failure: site.failure }),
      }),
    },
  )
