/** `POST /api/chat` and `/api/generate`: Ollama's requests, and the objects that an answer is sent as. */

import { z } from "zod"
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
/** What Ollama settles when it loads a model, and this server when it is started. */
const settled = (flag: string) => refused(`that is settled where the server is started (${flag})`)
const unknownHere = refused("there is no such switch here")

export const ollamaModel = z.string().min(1).describe("A name that /api/tags lists; `:latest` may be left out.")

export const keepAlive = z
  .union([z.number(), z.string()])
  .refine((value) => parseKeepAlive(value) !== undefined, {
    error: "expected seconds, or a duration such as 5m or 1h30m",
  })
  .nullish()
  .describe(
    "How long the model stays in memory behind this request: seconds, or a duration such as 5m; less than 0: for ever; 0: not at all. " +
      "Default: as it was. A model that the server always keeps stays longer.",
  )

export const numCtx = integer(1, 2 ** 31 - 1)
  .nullish()
  .describe("Tokens at most, with those of the answer. Default: the server's context, which it may not exceed.")

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
      .describe("Tokens at most; 0 and less: what the prompt leaves of the context, as by default."),
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
      .describe("Divides the positive and multiplies the negative logits of tokens already seen. Default 1 (off)."),
    presence_penalty: number(-2, 2).nullish().describe("Default 0."),
    frequency_penalty: number(-2, 2).nullish().describe("Default 0."),
    repeat_last_n: z
      .int()
      .min(-1)
      .nullish()
      .describe("Penalties look at the whole text (-1); nothing else can be said where there are some."),
    num_keep: z.int().nullish().describe("Taken and not used: nothing of a prompt is ever dropped."),
    mirostat: notYet("mirostat is", (value) => value === 0),
    mirostat_tau: notYet("mirostat is", (value) => value === 5),
    mirostat_eta: notYet("mirostat is", (value) => value === 0.1),
    tfs_z: notYet("tail-free sampling is", (value) => value === 1),
    typical_p: notYet("typical sampling is", (value) => value === 1),
    penalize_newline: notYet("exempting line breaks from penalties is", (value) => value === true),
    num_thread: settled("--threads"),
    num_batch: settled("--batch-size"),
    num_gpu: settled("--device"),
    main_gpu: settled("--device"),
    low_vram: settled("--memory-budget"),
    f16_kv: settled("--kv-type"),
    use_mmap: settled("--no-mmap"),
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
    thinking: z.string().nullish().describe("What the assistant thought before it answered."),
    images,
    tool_calls: list(toolCall, LIMITS.tools).nullish().describe("Tools that the assistant called."),
    tool_name: z.string().nullish().describe("Of a tool's message: whose result it is."),
    tool_call_id: z.string().nullish().describe("Which call it answers. Default: that of the tool's name, in order."),
  })
  .superRefine(({ role, content, tool_calls, thinking, tool_name, tool_call_id }, { addIssue }) => {
    const refuse = (path: string, message: string, code?: string) =>
      addIssue({ code: "custom", path: [path], message, input: role, ...(code && { params: { code } }) })
    const missing = content === undefined || content === null
    if (missing && role !== "assistant") refuse("content", `a ${role} message needs it`, "missing_required_parameter")
    if (role !== "assistant" && tool_calls?.length) refuse("tool_calls", `a ${role} message has none`)
    if (role !== "assistant" && thinking) refuse("thinking", `a ${role} message has none`)
    if (role !== "tool" && tool_name) refuse("tool_name", `a ${role} message has none`)
    if (role !== "tool" && tool_call_id) refuse("tool_call_id", `a ${role} message has none`)
  })
export type OllamaMessage = z.output<typeof message>

/** What both kinds of request have. */
const common = {
  model: ollamaModel,
  stream: z.boolean().nullish().describe("Send the answer piece by piece, as one JSON object a line. Default true."),
  think: z
    .union([z.boolean(), z.enum(["low", "medium", "high"])], { error: "expected true, false, low, medium or high" })
    .nullish()
    .describe("Whether, or how hard, a model that can think does so before it answers. Default: as the model does."),
  format: z
    .union([z.enum(["", "json"]), boundedSchema], { error: 'expected "json" or a JSON schema' })
    .nullish()
    .describe("What the text must be: JSON, or JSON that validates against this schema. Default: any text."),
  options: ollamaOptions,
  keep_alive: keepAlive,
  logprobs: z.boolean().nullish().describe("Report the log-probability of every token."),
  top_logprobs: integer(0, 20).nullish().describe("Alternatives for every token; needs logprobs."),
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
      .describe("Where there is none, the model is only loaded, or with keep_alive 0 unloaded."),
    tools: toolFields.tools,
  })
  .refine(scoredOrNot, SCORES_ERROR)
export type OllamaChatRequest = z.output<typeof ollamaChatRequest>

export const ollamaGenerateRequest = z
  .strictObject({
    ...common,
    prompt: z
      .string()
      .nullish()
      .describe("Where there is none, the model is only loaded, or with keep_alive 0 unloaded."),
    system: z.string().nullish().describe("The system message. Default: the model's own, if it has one."),
    suffix: z.string().nullish().describe("What comes behind the answer, for models that can fill gaps."),
    raw: z.boolean().nullish().describe("The prompt is for the model as it stands, without its chat template."),
    context: tokenIds(LIMITS.tokens)
      .nullish()
      .describe("What an earlier answer gave as its context: the conversation goes on from there."),
    template: notYet("a template for one request is", (value) => value === ""),
    images,
    width: refused("models here make text alone"),
    height: refused("models here make text alone"),
    steps: refused("models here make text alone"),
  })
  .refine(scoredOrNot, SCORES_ERROR)
  .superRefine((body, { addIssue }) => {
    for (const field of ["system", "context"] as const) {
      const given = (body[field]?.length ?? 0) > 0
      const excluded = body.raw ? "raw" : body.suffix ? "suffix" : undefined
      if (given && excluded !== undefined)
        addIssue({ code: "custom", path: [field], input: body[field], message: `excludes ${excluded}; leave one out` })
    }
  })
export type OllamaGenerateRequest = z.output<typeof ollamaGenerateRequest>

const tokenLogprob = z.object({ token: z.string(), logprob: z.number(), bytes: z.array(z.int()).nullable() })
const logprobs = z.array(tokenLogprob.extend({ top_logprobs: z.array(tokenLogprob) })).optional()

const ns = (what: string) => z.int().optional().describe(`Nanoseconds ${what}.`)
const thinking = z.string().optional().describe("What the model thought before it answered, where it is one that does.")

/** What every object of an answer has; the last one, with `done`, has the rest too. */
const answer = {
  model: z.string().describe("As the request calls it."),
  created_at: z.string().describe("RFC 3339."),
  done: z.boolean().describe("This is all, or the last of a stream."),
  done_reason: z
    .enum(["stop", "length", "load", "unload"])
    .optional()
    .describe("load and unload: nothing was asked for, and the model is in memory now, or on its way out."),
  logprobs,
  total_duration: ns("from the request to its end"),
  load_duration: ns("until the model was in memory"),
  prompt_eval_count: z.int().optional().describe("Tokens of the prompt."),
  prompt_eval_duration: ns("from then on to the first token"),
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
