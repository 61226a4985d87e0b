import { Elysia } from "elysia"
import { prepareChat } from "../../chat/chat.ts"
import { readJson } from "../../http/body.ts"
import { exampleModel, type ServerState } from "../../http/context.ts"
import { requestBody, responseBody } from "../../http/documented.ts"
import { answerErrors } from "../../http/errors.ts"
import { runJob } from "../../http/job.ts"
import { endpoint, GENERATION_ERRORS } from "../../http/openapi.ts"
import { ChatJob } from "./chat-job.ts"
import { chatChunk, chatRequest, chatResponse } from "./chat-schema.ts"
import { jobOptions, toChatRequest } from "./request.ts"
import { openAiError } from "./wire.ts"

/** `POST /v1/chat/completions`. */
export const chatRoutes = (state: ServerState) =>
  new Elysia().onError(answerErrors(openAiError)).post(
    "/v1/chat/completions",
    ({ body, request, server }) =>
      runJob(state, jobOptions("chatcmpl", body), { request, server }, async (model, context) => {
        const request = toChatRequest(body)
        return new ChatJob(context, await prepareChat(model, context, request), body, request)
      }),
    {
      parse: [({ request }) => readJson(request, state.maxBodyBytes), "json"],
      body: requestBody(chatRequest, {
        model: exampleModel(state),
        messages: [{ role: "user", content: "Why is the sky blue?" }],
        max_completion_tokens: 64,
        temperature: 0,
      }),
      response: { 200: responseBody(chatResponse) },
      detail: endpoint({
        tag: "Generation",
        summary: "Answer a conversation",
        response: chatResponse,
        event: chatChunk,
        errors: GENERATION_ERRORS,
      }),
    },
  )
