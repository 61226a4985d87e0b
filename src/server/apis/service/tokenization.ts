import { Elysia } from "elysia"
import { pause } from "../../../async.ts"
import type { LoadedModel } from "../../../engine/types.ts"
import { Detokenizer } from "../../../text/index.ts"
import type { Tokenizer } from "../../../text/tokenizer/types.ts"
import { encodeChat, encodeText } from "../../chat/encode.ts"
import { renderChat } from "../../chat/prompt.ts"
import { readJson } from "../../http/body.ts"
import { exampleModel, leaseModel, type ServerState } from "../../http/context.ts"
import { requestBody, responseBody } from "../../http/documented.ts"
import { answerErrors, invalidRequest } from "../../http/errors.ts"
import { endpoint, GENERATION_ERRORS } from "../../http/openapi.ts"
import { toConversation } from "../openai/request.ts"
import { openAiError } from "../openai/wire.ts"
import {
  applyTemplateRequest,
  applyTemplateResponse,
  detokenizeRequest,
  detokenizeResponse,
  type TokenizeRequest,
  type TokenizeResponse,
  tokenizeRequest,
  tokenizeResponse,
} from "./tokenization-schema.ts"

/** Tokens that are decoded at a time, and the most of a short list. */
const SLICE = 1 << 13

/** The error statuses of these endpoints. */
const { 429: _, ...ERRORS } = GENERATION_ERRORS

const TAG = "Models"
const EXAMPLE = [{ role: "user" as const, content: "Why is the sky blue?" }]

/** `POST /tokenize`, `/detokenize` and `/apply-template`. */
export function tokenizationRoutes(state: ServerState) {
  const model = exampleModel(state)
  const parse = [({ request }: { request: Request }) => readJson(request, state.maxBodyBytes), "json"] as const
  /** Runs `use` with a model, the first one by default, which stays in memory meanwhile. */
  const withModel = async <T>(
    name: string | null | undefined,
    request: Request,
    use: (model: LoadedModel) => T | Promise<T>,
  ) => {
    using lease = await leaseModel(state, name ?? exampleModel(state), request.signal)
    return await use(lease.model)
  }
  return new Elysia()
    .onError(answerErrors(openAiError))
    .post("/tokenize", ({ body, request }) => withModel(body.model, request, (model) => tokenize(model, body)), {
      parse: [...parse],
      body: requestBody(tokenizeRequest, { model, prompt: "Why is the sky blue?" }),
      response: { 200: responseBody(tokenizeResponse) },
      detail: endpoint({ tag: TAG, summary: "A text's tokens", response: tokenizeResponse, errors: ERRORS }),
    })
    .post(
      "/detokenize",
      ({ body, request }) => withModel(body.model, request, (model) => detokenize(model, body.tokens)),
      {
        parse: [...parse],
        body: requestBody(detokenizeRequest, { model, tokens: [10, 20, 30] }),
        response: { 200: responseBody(detokenizeResponse) },
        detail: endpoint({ tag: TAG, summary: "The text of tokens", response: detokenizeResponse, errors: ERRORS }),
      },
    )
    .post(
      "/apply-template",
      ({ body, request }) =>
        withModel(body.model, request, (model) => ({ prompt: renderChat(model, toConversation(body)) })),
      {
        parse: [async ({ request }) => withDefaults(await readJson(request, state.maxBodyBytes), state), "json"],
        body: requestBody(applyTemplateRequest, { model, messages: EXAMPLE }),
        response: { 200: responseBody(applyTemplateResponse) },
        detail: endpoint({
          tag: TAG,
          summary: "A conversation as the model's prompt",
          response: applyTemplateResponse,
          errors: ERRORS,
        }),
      },
    )
}

/** A body with the server's default variables of chat templates. */
function withDefaults(body: unknown, { llama }: ServerState): unknown {
  const { chat_template_kwargs: variables } = llama.defaults
  if (variables === undefined || typeof body !== "object" || body === null) return body
  return { chat_template_kwargs: variables, ...body }
}

async function tokenize(model: LoadedModel, body: TokenizeRequest): Promise<TokenizeResponse> {
  const { tokenizer, engine } = model
  const ids = Array.from(await tokensOf(model, body))
  const answer: TokenizeResponse = {
    tokens: body.with_pieces ? ids.map((id) => ({ id, piece: pieceOf(tokenizer, id) })) : ids,
    count: ids.length,
    max_model_len: engine.limits.contextLength,
    token_strs: body.return_token_strs ? ids.map((id) => tokenizer.piece(id)) : null,
  }
  // A long list is not validated as other responses are: that takes longer than making it.
  return ids.length > SLICE ? (Response.json(answer) as unknown as TokenizeResponse) : answer
}

async function tokensOf(model: LoadedModel, body: TokenizeRequest): Promise<Int32Array> {
  const { tokenizer } = model
  const { messages, prompt, content } = body
  if (messages) return await encodeChat(model, renderChat(model, toConversation({ ...body, messages })))
  const around = body.add_special ?? body.add_special_tokens ?? typeof prompt === "string"
  const special = body.parse_special ?? true
  return await encodeText(model, prompt ?? content ?? "", { special, addBos: around && tokenizer.addBos })
}

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

function pieceOf(tokenizer: Tokenizer, id: number): string | number[] {
  const bytes = tokenizer.tokenBytes(id)
  try {
    return strict.decode(bytes)
  } catch {
    // Part of a character.
    return [...bytes]
  }
}

/** @throws ApiError 400 for an id that does not exist */
async function detokenize({ tokenizer }: LoadedModel, tokens: readonly number[]) {
  const unknown = tokens.find((id) => id >= tokenizer.vocabSize)
  if (unknown !== undefined)
    throw invalidRequest(
      `'tokens': token ${unknown} does not exist; ids are 0 to ${tokenizer.vocabSize - 1}.`,
      "tokens",
      "invalid_value",
    )
  const detokenizer = new Detokenizer(tokenizer, { special: true, continuation: false })
  const parts: string[] = []
  for (let start = 0; start < tokens.length; start += SLICE) {
    for (const token of tokens.slice(start, start + SLICE)) parts.push(detokenizer.push(token))
    await pause()
  }
  const text = parts.join("") + detokenizer.flush()
  return { content: text, prompt: text }
}
