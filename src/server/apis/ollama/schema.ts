/** `POST /api/chat` and `/api/generate`: requests, and the objects of their answers. */

import { z } from "zod"
import { modelName, noEffect, openObject } from "../../http/lenient.ts"
import { boundedSchema, jsonObject, LIMITS, list, stopText, tokenIds } from "../../http/limits.ts"
import { integer, notYet } from "../openai/generation-schema.ts"
import { toolFields } from "../openai/tools-schema.ts"
import { parseKeepAlive } from "./keep-alive.ts"
import { isPromptTemplate } from "./prompt-template.ts"

const number = (min: number, max: number) => z.number().min(min).max(max)

/** An option that Ollama reads when it loads a model, and this server when it starts. */
const setAtStart = (flag: string) => noEffect(`is set when this server starts (${flag})`)
const unknownHere = noEffect("tunes another engine")

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

const numCtx = integer(1, 2 ** 31 - 1)
  .nullish()
  .describe("Most tokens of prompt and answer together. Default: the server's context, which is also the limit.")

/** A number at least `min`; `null` means not given. */
const atLeast = (min: number) => z.number().min(min).nullish()

export const ollamaOptions = openObject("options", {
  temperature: atLeast(0).describe("0 is greedy. Default 0.8."),
  top_k: z.int().nullish().describe("0 or less: off. Default 40."),
  top_p: atLeast(0).describe("1 or more: off. Default 0.9."),
  min_p: number(0, 1).nullish().describe("Default 0 (off)."),
  typical_p: number(0, 1).nullish().describe("Default 1 (off)."),
  seed: z.int().nullish().describe("The same seed and request give the same text. Below 0 (default): random."),
  num_predict: integer(-2, 2 ** 31 - 1)
    .nullish()
    .describe("Most tokens of the answer. 0 and below, and by default: the rest of the context after the prompt."),
  num_ctx: numCtx,
  num_keep: integer(-1, 2 ** 31 - 1)
    .nullish()
    .describe("Tokens at the beginning of a prompt that is cut which stay. -1: all. Default 4."),
  stop: z
    .union([stopText, list(stopText, LIMITS.stops)], {
      error: `expected a string or a list of up to ${LIMITS.stops}`,
    })
    .nullish()
    .describe("Texts that end the answer; they are not part of it."),
  repeat_penalty: atLeast(0.001).describe(
    "Divides the positive logits of tokens already seen, and multiplies the negative ones. Default 1 (off).",
  ),
  presence_penalty: z.number().nullish().describe("Default 0."),
  frequency_penalty: z.number().nullish().describe("Default 0."),
  repeat_last_n: integer(-1, 2 ** 31 - 1)
    .nullish()
    .describe("Tokens at the end of the text that penalties look at. -1: all; 0: none. Default: all."),
  mirostat: z
    .union([z.literal(0), z.literal(1), z.literal(2)])
    .nullish()
    .describe("Default 0 (off)."),
  mirostat_tau: atLeast(0).describe("Default 5."),
  mirostat_eta: atLeast(0).describe("Default 0.1."),
  tfs_z: noEffect("was removed from Ollama as well (tail-free sampling)"),
  penalize_newline: noEffect("was removed from Ollama as well"),
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
}).nullish()
export type OllamaOptions = z.output<typeof ollamaOptions>

const images = notYet("images are", (value) => Array.isArray(value) && value.length === 0)

const toolCall = openObject("messages[].tool_calls[]", {
  id: z.string().nullish(),
  type: noEffect("is always function"),
  function: openObject("messages[].tool_calls[].function", {
    index: noEffect("follows from the order of the calls"),
    name: z.string().min(1),
    arguments: z.union([jsonObject, z.string()], { error: "expected an object, or its JSON" }).nullish(),
  }),
})

const ROLES = ["system", "user", "assistant", "tool"] as const
const message = openObject("messages[]", {
  role: z.enum(ROLES, { error: ({ input }) => `${JSON.stringify(input)} is not one of ${ROLES.join(", ")}` }),
  content: z.string().nullish(),
  thinking: z.string().nullish().describe("The assistant's reasoning before its answer."),
  images,
  tool_calls: list(toolCall, LIMITS.tools).nullish().describe("Calls of tools that the assistant made."),
  tool_name: z.string().nullish().describe("Of a tool's message: the name of the tool."),
  name: z.string().nullish().describe("The same as tool_name."),
  tool_call_id: z
    .string()
    .nullish()
    .describe("The id of the call that it answers. Default: the oldest unanswered call of that tool."),
})
export type OllamaMessage = z.output<typeof message>

/** The fields of both kinds of request. */
const common = {
  model: modelName,
  stream: z.boolean().nullish().describe("Send the answer in pieces, one JSON object per line. Default true."),
  think: z
    .union([z.boolean(), z.enum(["", "low", "medium", "high", "max"])], {
      error: "expected true, false, low, medium, high or max",
    })
    .nullish()
    .describe(
      "Whether, or how much, the model thinks before it answers. Without effect if it does not think. Default: the model's own.",
    ),
  format: z
    .union([z.enum(["", "json"]), boundedSchema], { error: 'expected "json" or a JSON schema' })
    .nullish()
    .describe("The form of the text: JSON, or JSON that validates against this schema. Default: any text."),
  options: ollamaOptions,
  keep_alive: keepAlive,
  logprobs: z.boolean().nullish().describe("Report the log-probability of every token."),
  top_logprobs: integer(0, 20).nullish().describe("Number of alternatives for every token; requires logprobs."),
  truncate: z
    .boolean()
    .nullish()
    .describe(
      "Shorten a prompt that does not fit: of a conversation the oldest messages are left out, of a text its beginning after num_keep tokens. false: refuse it. Default true.",
    ),
  shift: noEffect("concerns answers that fill the context; here they always end there, for length"),
  dimensions: noEffect("belongs to /api/embed"),
}

interface Scored {
  logprobs?: boolean | null
  top_logprobs?: number | null
}
const scoredOrNot = ({ logprobs, top_logprobs }: Scored): boolean => logprobs === true || !top_logprobs
const SCORES_ERROR = { path: ["top_logprobs"], error: "needs logprobs to be true" }

export const ollamaChatRequest = openObject("", {
  ...common,
  messages: list(message, LIMITS.messages)
    .nullish()
    .describe("Without it, the model is only loaded, or with a keep_alive of 0 unloaded."),
  tools: toolFields.tools,
}).refine(scoredOrNot, SCORES_ERROR)
export type OllamaChatRequest = z.output<typeof ollamaChatRequest>

export const ollamaGenerateRequest = openObject("", {
  ...common,
  prompt: z.string().nullish().describe("Without it, the model is only loaded, or with a keep_alive of 0 unloaded."),
  system: z.string().nullish().describe("The system message. Default: the model's own, if it has one."),
  suffix: z.string().nullish().describe("The text after the answer. Requires a model with fill-in-the-middle tokens."),
  raw: z.boolean().nullish().describe("Give the model the prompt unchanged, without its chat template."),
  context: tokenIds(LIMITS.tokens)
    .nullish()
    .describe("The context of an earlier answer, whose conversation this request continues."),
  template: z
    .string()
    .nullish()
    .refine((template) => !template || isPromptTemplate(template), {
      error:
        "templates of Go are not supported, except texts around {{ .System }} and {{ .Prompt }}; write the prompt yourself and set raw",
      params: { code: "unsupported_parameter" },
    })
    .describe(
      "A text in which {{ .Prompt }} and {{ .System }} stand for the request's, instead of the model's template.",
    ),
  images,
  width: noEffect("concerns models that generate images"),
  height: noEffect("concerns models that generate images"),
  steps: noEffect("concerns models that generate images"),
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
  function: z.object({ index: z.int(), name: z.string(), arguments: jsonObject }),
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
