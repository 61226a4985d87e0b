import { Elysia } from "elysia"
import { type Chat, type ChatToolDelta, chatEvents, collectChat, prepareChat } from "../../chat/chat.ts"
import type { ToolCall } from "../../chat/request.ts"
import { readJson } from "../../http/body.ts"
import { exampleModel, type ServerState } from "../../http/context.ts"
import { requestBody, responseBody } from "../../http/documented.ts"
import { answerErrors, type ErrorShape } from "../../http/errors.ts"
import { type ResponseHead, runJob } from "../../http/job.ts"
import { endpoint, GENERATION_ERRORS } from "../../http/openapi.ts"
import { reportsProgress, verboseAnswer } from "../llama-server/chat-extras.ts"
import { LiveTimings, timingsOf } from "../llama-server/timings.ts"
import {
  type ChatBody,
  type ChatChunk,
  type ChatResponse,
  chatChunk,
  chatRequest,
  chatResponse,
} from "./chat-schema.ts"
import { chatLogprobsOf } from "./logprobs.ts"
import { jobOptions, toChatRequest } from "./request.ts"
import { DATA_EVENTS, openAiError, usageBody } from "./wire.ts"

/** Where the route is, and what differs there. */
interface ChatSite {
  readonly path: `/${string}`
  readonly tag: string
  readonly shape: ErrorShape
  readonly readBody: (state: ServerState, request: Request) => Promise<unknown>
  /** The content of a stream's first chunk. */
  readonly begin: "" | null
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
        const live = new LiveTimings()
        const run = reportsProgress(body) ? { ...context, onProgress: live.onProgress } : context
        const chat = await prepareChat(model, run, toChatRequest(body))
        return {
          controller: context.controller,
          format: { ...DATA_EVENTS, failure: (error) => `data: ${JSON.stringify(site.shape(error))}\n\n` },
          complete: () => complete(context, chat, body),
          chunks: () => chunks(context, chat, body, { live, begin: site.begin }),
        }
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
      }),
    },
  )

async function complete(head: ResponseHead, chat: Chat, body: ChatBody): Promise<ChatResponse> {
  const { answers, usage } = await collectChat(chat)
  return {
    id: head.id,
    object: "chat.completion",
    created: head.created,
    model: head.model,
    choices: answers.map(({ content, reasoning, toolCalls: tool_calls, scored, reason }, index) => ({
      index,
      message: {
        role: "assistant",
        content: content === "" && tool_calls.length > 0 ? null : content,
        ...(chat.reasoning && reasoningFields(reasoning)),
        ...(tool_calls.length > 0 && { tool_calls: tool_calls.map(toolCallBody) }),
        refusal: null,
      },
      logprobs: body.logprobs ? chatLogprobsOf(chat.model.tokenizer, scored) : null,
      finish_reason: reason,
    })),
    usage: usageBody(usage),
    timings: timingsOf(usage),
    ...(body.verbose && { __verbose: verboseAnswer(chat, answers[0]?.content ?? "", usage) }),
  }
}

async function* chunks(
  head: ResponseHead,
  chat: Chat,
  body: ChatBody,
  { live, begin }: { live: LiveTimings; begin: ChatSite["begin"] },
): AsyncGenerator<ChatChunk> {
  const withUsage = body.stream_options?.include_usage === true
  const begun = new Set<number>()
  type ChunkChoice = ChatChunk["choices"][number]
  const chunk = (...parts: ChunkChoice[]): ChatChunk => ({
    id: head.id,
    object: "chat.completion.chunk",
    created: head.created,
    model: head.model,
    choices: parts,
    ...(withUsage ? { usage: null } : {}),
  })

  const timed = (part: ChatChunk) => (body.timings_per_token ? { ...part, timings: live.body() } : part)
  live.promptTokens = chat.choices.requests[0]?.request.promptTokens.length ?? 0

  for await (const event of live.withProgress(chatEvents(chat))) {
    if ("total" in event) {
      const begins = !begun.has(0)
      begun.add(0)
      if (begins) yield chunk({ index: 0, delta: { role: "assistant", content: begin }, logprobs: null, finish_reason: null })
      if (body.return_progress) yield { ...timed(chunk()), prompt_progress: event }
      continue
    }
    if (event.type === "usage") {
      if (withUsage) yield { ...chunk(), usage: usageBody(event.usage), timings: timingsOf(event.usage) }
      continue
    }
    const { index } = event
    if (!begun.has(index)) {
      begun.add(index)
      yield chunk({ index, delta: { role: "assistant", content: begin }, logprobs: null, finish_reason: null })
    }
    if (event.type === "finish") {
      yield chunk({ index, delta: {}, logprobs: null, finish_reason: event.reason })
      continue
    }
    if (event.type === "tool_call" || event.type === "tool_arguments") {
      yield chunk({ index, delta: { tool_calls: [toolCallDelta(event)] }, logprobs: null, finish_reason: null })
      continue
    }
    const { type, text, scored } = event
    live.token()
    yield timed(chunk({
      index,
      delta: type === "reasoning" ? reasoningFields(text) : { content: text },
      logprobs: scored === undefined ? null : chatLogprobsOf(chat.model.tokenizer, [scored]),
      finish_reason: null,
    }))
  }
}

/** Clients look for the reasoning under either name. */
const reasoningFields = (text: string) => ({ reasoning_content: text, reasoning: text })

const toolCallBody = ({ id, name, arguments: text }: ToolCall) =>
  ({ id, type: "function", function: { name, arguments: text } }) as const

const toolCallDelta = (event: ChatToolDelta) =>
  event.type === "tool_call"
    ? { index: event.call, id: event.id, type: "function" as const, function: { name: event.name, arguments: "" } }
    : { index: event.call, function: { arguments: event.text } }
