/** `POST /api/chat` and `/api/generate`: requests, and the objects of their answers. */

import { z } from "zod"
import { modelName } from "../../http/lenient.ts"
import { boundedSchema, LIMITS, list, stopText, tokenIds } from "../../http/limits.ts"
import { integer, notYet } from "../openai/generation-schema.ts"
import { toolFields } from "../openai/tools-schema.ts"
import { parseKeepAlive } from "./keep-alive.ts"

const number = (min: number, max: number) => z.number().min(min).max(max)

const refused = (why: string) =>
  z
    .unknown()
    .refine((value) => value === undefined || value === null, {
      error: `${why}; leave the field out`,
      params: { code: "unsupported_parameter" },
    })
    .optional()
    .describe(`Refused: ${why}.`)
/** An option that Ollama reads when it loads a model, and this server when it starts. */
const setAtStart = (flag: string) => refused(`it is set when the server starts (${flag})`)
const unknownHere = refused("this server has no such option")

export const keepAlive = z
  .union([z.number(), z.string()])
  .refine((value) => parseKeepAlive(value) !== undefined, {
    error: "expected seconds, or a duration such as 5m or 1h30m",
  })
  .nullish()
  .describe(
    "How long the model stays in memory after this request: seconds, or a duration such as 5m. Below 0: forever; 0: unload it at once. " +
      "Default: unchanged. A model that the server always keeps in memory stays in any case.",
  )

export const numCtx = integer(1, 2 ** 31 - 1)
  .nullish()
  .describe("Most tokens of prompt and answer together. Default: the server's context, which is also the limit.")

const ollamaOptions = z
  .strictObject({
    temperature: number(0, 2).nullish().describe("0 is greedy. Default 0.8."),
    top_k: integer(0, 2 ** 31 - 1)
      .nullish()
      .describe("0: off. Default 40."),
    top_p: number(0, 1).nullish().describe("Default 0.9."),
    min_p: number(0, 1).nullish().describe("Default 0 (off)."),
    seed: z.int().nullish().describe("The same seed and request give the same text. Below 0 (default): random."),
    num_predict: integer(-2, 2 ** 31 - 1)
      .nullish()
      .describe("Most tokens of the answer. 0 and below, and by default: the rest of the context after the prompt."),
    num_ctx: numCtx,
    stop: z
      .union([stopText, list(stopText, LIMITS.stops)], {
        error: `expected a string or a list of up to ${LIMITS.stops}`,
      })
      .nullish()
      .describe("Texts that end the answer; they are not part of it."),
    repeat_penalty: z
      .number()
      .gt(0)
      .max(100)
      .nullish()
      .describe(
        "Divides the positive logits of tokens already seen, and multiplies the negative ones. Default 1 (off).",
      ),
    presence_penalty: number(-2, 2).nullish().describe("Default 0."),
    frequency_penalty: number(-2, 2).nullish().describe("Default 0."),
    repeat_last_n: z
      .int()
      .min(-1)
      .nullish()
      .describe(
        "How much of the text penalties look at: always all of it (-1). Together with penalties, other values are refused.",
      ),
    num_keep: z.int().nullish().describe("Accepted and ignored: no part of a prompt is ever dropped."),
    mirostat: notYet("mirostat is", (value) => value === 0),
    mirostat_tau: notYet("mirostat is", (value) => value === 5),
    mirostat_eta: notYet("mirostat is", (value) => value === 0.1),
    tfs_z: notYet("tail-free sampling is", (value) => value === 1),
    typical_p: notYet("typical sampling is", (value) => value === 1),
    penalize_newline: notYet("exempting line breaks from penalties is", (value) => value === true),
    num_thread: setAtStart("--threads"),
    num_batch: setAtStart("--batch-size"),
    num_gpu: setAtStart("--device"),
    main_gpu: setAtStart("--device"),
    low_vram: setAtStart("--memory-budget"),
    f16_kv: setAtStart("--kv-type"),
    use_mmap: setAtStart("--no-mmap"),
    numa: unknownHere,
    use_mlock: unknownHere,
    logits_all: unknownHere,
    vocab_only: unknownHere,
    embedding_only: unknownHere,
  })
  .superRefine((options, { addIssue }) => {
    const { repeat_penalty, presence_penalty, frequency_penalty, repeat_last_n } = options
    const penalised = (repeat_penalty ?? 1) !== 1 || !!presence_penalty || !!frequency_penalty
    if (penalised && (repeat_last_n ?? -1) !== -1)
      addIssue({
        code: "custom",
        path: ["repeat_last_n"],
        input: repeat_last_n,
        message: "penalties look at the whole text here; use -1, or leave the option out",
        params: { code: "unsupported_parameter" },
      })
  })
  .nullish()
export type OllamaOptions = z.output<typeof ollamaOptions>

const images = notYet("images are", (value) => Array.isArray(value) && value.length === 0)

const toolCall = z.strictObject({
  id: z.string().nullish(),
  type: z.literal("function").nullish(),
  function: z.strictObject({
    index: z.int().nullish(),
    name: z.string().min(1),
    arguments: z.record(z.string(), z.unknown()),
  }),
})

const ROLES = ["system", "user", "assistant", "tool"] as const
const message = z
  .strictObject({
    role: z.enum(ROLES, { error: ({ input }) => `${JSON.stringify(input)} is not one of ${ROLES.join(", ")}` }),
    content: z.string().nullish().describe("May be left out of an assistant's message that calls tools."),
    thinking: z.string().nullish().describe("The assistant's reasoning before its answer."),
    images,
    tool_calls: list(toolCall, LIMITS.tools).nullish().describe("Calls of tools that the assistant made."),
    tool_name: z.string().nullish().describe("Of a tool's message: the name of the tool."),
    tool_call_id: z
      .string()
      .nullish()
      .describe("The id of the call that it answers. Default: the oldest unanswered call of that tool."),
  })
  .superRefine(({ role, content, tool_calls, thinking, tool_name, tool_call_id }, { addIssue }) => {
    const refuse = (path: string, message: string, code?: string) =>
      addIssue({ code: "custom", path: [path], message, input: role, ...(code && { params: { code } }) })
    const missing = content === undefined || content === null
    if (missing && role !== "assistant")
      refuse("content", `is required in a ${role} message`, "missing_required_parameter")
    if (role !== "assistant" && tool_calls?.length) refuse("tool_calls", `is not allowed in a ${role} message`)
    if (role !== "assistant" && thinking) refuse("thinking", `is not allowed in a ${role} message`)
    if (role !== "tool" && tool_name) refuse("tool_name", `is not allowed in a ${role} message`)
    if (role !== "tool" && tool_call_id) refuse("tool_call_id", `is not allowed in a ${role} message`)
  })
export type OllamaMessage = z.output<typeof message>

/** The fields of both kinds of request. */
const common = {
  model: modelName,
  stream: z.boolean().nullish().describe("Send the answer in pieces, one JSON object per line. Default true."),
  think: z
    .union([z.boolean(), z.enum(["low", "medium", "high"])], { error: "expected true, false, low, medium or high" })
    .nullish()
    .describe("Whether, or how much, the model thinks before it answers. Default: the model's own."),
  format: z
    .union([z.enum(["", "json"]), boundedSchema], { error: 'expected "json" or a JSON schema' })
    .nullish()
    .describe("The form of the text: JSON, or JSON that validates against this schema. Default: any text."),
  options: ollamaOptions,
  keep_alive: keepAlive,
  logprobs: z.boolean().nullish().describe("Report the log-probability of every token."),
  top_logprobs: integer(0, 20).nullish().describe("Number of alternatives for every token; requires logprobs."),
  truncate: notYet("cutting prompts that are too long is", (value) => value === false),
  shift: notYet("dropping the beginning of a full context is", (value) => value === false),
}

interface Scored {
  logprobs?: boolean | null
  top_logprobs?: number | null
}
const scoredOrNot = ({ logprobs, top_logprobs }: Scored): boolean => logprobs === true || !top_logprobs
const SCORES_ERROR = { path: ["top_logprobs"], error: "needs logprobs to be true" }

export const ollamaChatRequest = z
  .strictObject({
    ...common,
    messages: list(message, LIMITS.messages)
      .nullish()
      .describe("Without it, the model is only loaded, or with a keep_alive of 0 unloaded."),
    tools: toolFields.tools,
  })
  .refine(scoredOrNot, SCORES_ERROR)
export type OllamaChatRequest = z.output<typeof ollamaChatRequest>

export const ollamaGenerateRequest = z
  .strictObject({
    ...common,
    prompt: z.string().nullish().describe("Without it, the model is only loaded, or with a keep_alive of 0 unloaded."),
    system: z.string().nullish().describe("The system message. Default: the model's own, if it has one."),
    suffix: z
      .string()
      .nullish()
      .describe("The text after the answer. Requires a model with fill-in-the-middle tokens."),
    raw: z.boolean().nullish().describe("Give the model the prompt unchanged, without its chat template."),
    context: tokenIds(LIMITS.tokens)
      .nullish()
      .describe("The context of an earlier answer, whose conversation this request continues."),
    template: notYet("a template for one request is", (value) => value === ""),
    images,
    width: refused("models here generate only text"),
    height: refused("models here generate only text"),
    steps: refused("models here generate only text"),
  })
  .refine(scoredOrNot, SCORES_ERROR)
  .superRefine((body, { addIssue }) => {
    for (const field of ["system", "context"] as const) {
      const given = (body[field]?.length ?? 0) > 0
      const excluded = body.raw ? "raw" : body.suffix ? "suffix" : undefined
      if (given && excluded !== undefined)
        addIssue({
          code: "custom",
          path: [field],
          input: body[field],
          message: `cannot be combined with ${excluded}; leave one of the two out`,
        })
    }
  })
export type OllamaGenerateRequest = z.output<typeof ollamaGenerateRequest>

const tokenLogprob = z.object({ token: z.string(), logprob: z.number(), bytes: z.array(z.int()).nullable() })
const logprobs = z.array(tokenLogprob.extend({ top_logprobs: z.array(tokenLogprob) })).optional()

const ns = (what: string) => z.int().optional().describe(`Nanoseconds ${what}.`)
const thinking = z.string().optional().describe("The model's reasoning before its answer. Only for models that think.")

/** The fields of every object of an answer. The optional ones are in the last object, which has `done`. */
const answer = {
  model: z.string().describe("The model's name in the request."),
  created_at: z.string().describe("RFC 3339."),
  done: z.boolean().describe("true: this is the whole answer, or the last object of a stream."),
  done_reason: z
    .enum(["stop", "length", "load", "unload"])
    .optional()
    .describe("load and unload: the request had no prompt, and the model was loaded or unloaded."),
  logprobs,
  total_duration: ns("from the request to its end"),
  load_duration: ns("until the model was in memory"),
  prompt_eval_count: z.int().optional().describe("Tokens of the prompt."),
  prompt_eval_duration: ns("from then to the first token"),
  eval_count: z.int().optional().describe("Tokens of the answer."),
  eval_duration: ns("from the first token to the last"),
}

const answeredCall = z.object({
  id: z.string(),
  function: z.object({ index: z.int(), name: z.string(), arguments: z.record(z.string(), z.unknown()) }),
})

export const ollamaChatResponse = z.object({
  ...answer,
  message: z.object({
    role: z.literal("assistant"),
    content: z.string(),
    thinking,
    tool_calls: z.array(answeredCall).optional(),
  }),
})
export type OllamaChatResponse = z.output<typeof ollamaChatResponse>

export const ollamaGenerateResponse = z.object({
  ...answer,
  response: z.string(),
  thinking,
  context: z
    .array(z.int())
    .optional()
    .describe("The conversation as token ids, for the next request; not with raw or suffix."),
})
export type OllamaGenerateResponse = z.output<typeof ollamaGenerateResponse>

export const ollamaErrorSchema = z.object({ error: z.string() })
