/** `POST /tokenize`, `/detokenize` and `/apply-template`, in the forms that llama-server and vLLM give them. */

import { z } from "zod"
import { LIMITS, list, tokenIds } from "../../http/limits.ts"
import { checkContinuation, message, templateFields } from "../openai/conversation-schema.ts"
import { checkTools, toolFields } from "../openai/tools-schema.ts"

const model = z.string().min(1).nullish().describe("A name that /v1/models lists. Default: the first one.")
const messages = list(message, LIMITS.messages, 1)

/** Fields that, beside the messages, decide how a conversation becomes a prompt. */
const conversationFields = { ...templateFields, tools: toolFields.tools, tool_choice: toolFields.tool_choice }

const text = z
  .string()
  .max(LIMITS.text, `is longer than this server's limit of ${LIMITS.text} characters; send it in parts`)

const isGiven = (value: unknown): boolean => value !== undefined && value !== null

export const tokenizeRequest = z
  .strictObject({
    model,
    content: text.nullish().describe("The text. By default without the tokens that the model expects around a text."),
    prompt: text.nullish().describe("The text. By default with the tokens that the model expects around a text."),
    messages: messages.nullish().describe("A conversation, which the model's chat template turns into a prompt."),
    ...conversationFields,
    add_special: z.boolean().nullish().describe("Add the tokens that the model expects around a text (BOS)."),
    add_special_tokens: z.boolean().nullish().describe("The same as add_special."),
    parse_special: z
      .boolean()
      .nullish()
      .describe("Control tokens written in the text count as those tokens. Default true."),
    with_pieces: z.boolean().nullish().describe("Return each token as its id and its text. Default false."),
    return_token_strs: z
      .boolean()
      .nullish()
      .describe("Return the tokens as the vocabulary writes them too. Default false."),
  })
  .refine((body) => [body.content, body.prompt, body.messages].filter(isGiven).length === 1, {
    path: ["prompt"],
    error: "give exactly one of content, prompt and messages",
  })
  .refine((body) => !(isGiven(body.messages) && (body.add_special || body.add_special_tokens)), {
    path: ["add_special"],
    error: "the chat template adds these tokens; leave the field out",
  })
  .refine((body) => !(isGiven(body.messages) && body.parse_special === false), {
    path: ["parse_special"],
    error: "a conversation always has control tokens; leave the field out",
  })
  .superRefine((body, context) => {
    if (body.messages) {
      checkTools(body, context)
      return checkContinuation(body, context)
    }
    for (const field of Object.keys(conversationFields) as (keyof typeof conversationFields)[])
      if (isGiven(body[field]))
        context.addIssue({
          code: "custom",
          path: [field],
          message: "can be given only with messages",
          input: body[field],
        })
  })
export type TokenizeRequest = z.output<typeof tokenizeRequest>

const piece = z.union([z.string(), z.array(z.int())]).describe("Text, or the bytes of an incomplete character.")
export const tokenizeResponse = z.object({
  tokens: z.array(z.union([z.int(), z.object({ id: z.int(), piece })])),
  count: z.int(),
  max_model_len: z.int().describe("Length of the model's context in tokens."),
  token_strs: z.array(z.string()).nullable(),
})
export type TokenizeResponse = z.output<typeof tokenizeResponse>

export const detokenizeRequest = z.strictObject({ model, tokens: tokenIds(LIMITS.decoded) })
export const detokenizeResponse = z.object({
  content: z.string().describe("The text, with control tokens as the vocabulary writes them."),
  prompt: z.string().describe("The same as content."),
})

export const applyTemplateRequest = z
  .strictObject({ model, messages, ...conversationFields })
  .superRefine(checkContinuation)
  .superRefine(checkTools)
export const applyTemplateResponse = z.object({ prompt: z.string() })
