import { Elysia } from "elysia"
import type { LoadedModel } from "../../engine/load.ts"
import { readJson } from "../body.ts"
import { type Choices, checkPrompt, collect, finished, makeChoices, runChoices, UsageTotal } from "../generation.ts"
import { chatLogprobsOf } from "../logprobs.ts"
import { chatPrompt } from "../prompt.ts"
import { samplingOf, stopStrings } from "../sampling.ts"
import {
  type ChatChunk,
  type ChatRequest,
  type ChatResponse,
  chatChunk,
  chatRequest,
  chatResponse,
} from "../schemas/chat.ts"
import { requestBody, responseBody } from "../schemas/documented.ts"
import { exampleModel, type ServerState } from "../state.ts"
import { type Head, runJob } from "./job.ts"
import { endpoint, GENERATION_ERRORS } from "./openapi.ts"

/** `POST /v1/chat/completions`. */
export const chatRoutes = (state: ServerState) =>
  new Elysia().post(
    "/v1/chat/completions",
    ({ body, request, server }) =>
      runJob(state, "chatcmpl", body, { request, server }, (model, head) => {
        const choices = chatChoices(model, head, body)
        return {
          controller: head.controller,
          complete: () => complete(model, head, choices, body),
          chunks: () => chunks(model, head, choices, body),
        }
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

function chatChoices(model: LoadedModel, { id, standing }: Head, body: ChatRequest): Choices {
  const prompt = chatPrompt(model, body.messages)
  checkPrompt(model, prompt, "messages")
  const logprobs = body.logprobs ? (body.top_logprobs ?? 0) : undefined
  return makeChoices(model, [prompt], {
    id,
    n: body.n ?? 1,
    sampling: samplingOf(body, model.engine.limits, logprobs),
    maxTokens: body.max_completion_tokens ?? body.max_tokens ?? undefined,
    stop: stopStrings(body.stop),
    ignoreEos: body.ignore_eos ?? false,
    standing,
  })
}

async function complete(model: LoadedModel, head: Head, choices: Choices, body: ChatRequest): Promise<ChatResponse> {
  const { drafts, usage } = await collect(model, choices, head.controller)
  return {
    id: head.id,
    object: "chat.completion",
    created: head.created,
    model: head.model,
    choices: drafts.map(({ text, scored, reason }, index) => ({
      index,
      message: { role: "assistant", content: text, refusal: null },
      logprobs: body.logprobs ? chatLogprobsOf(model.tokenizer, scored) : null,
      finish_reason: reason,
    })),
    usage: usage.toJSON(),
  }
}

async function* chunks(model: LoadedModel, head: Head, choices: Choices, body: ChatRequest): AsyncGenerator<ChatChunk> {
  const withUsage = body.stream_options?.include_usage === true
  const usage = new UsageTotal()
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

  for await (const { index, event } of runChoices(model, choices, head.controller)) {
    if (!begun.has(index)) {
      begun.add(index)
      yield chunk({ index, delta: { role: "assistant", content: "" }, logprobs: null, finish_reason: null })
    }
    if (event.type === "end") {
      const choice = choices.list[index]
      if (choice !== undefined) usage.add(choice, event.usage)
      yield chunk({ index, delta: {}, logprobs: null, finish_reason: finished(event.reason, head.controller.signal) })
      continue
    }
    const { text, token, logprobs } = event
    const scored = body.logprobs && token !== undefined && logprobs !== undefined ? [{ token, logprobs }] : []
    if (text === "" && scored.length === 0) continue
    yield chunk({
      index,
      delta: { content: text },
      logprobs: scored.length > 0 ? chatLogprobsOf(model.tokenizer, scored) : null,
      finish_reason: null,
    })
  }
  if (withUsage) yield { ...chunk(), usage: usage.toJSON() }
}
