/** The messages of Anthropic's requests, and their content blocks. */

import { z } from "zod"
import { noEffect, noteIgnored, openObject } from "../../http/lenient.ts"
import { jsonObject, LIMITS, list } from "../../http/limits.ts"

export const cacheControl = noEffect("marks the end of a prefix to cache, and common prefixes are cached without it")

const BLOCK = "messages[].content[]"
const citations = noEffect("is about citations, which answers do not have")
const caller = noEffect("says who called a tool, which is always the model here")

const textBlock = openObject(BLOCK, {
  type: z.literal("text"),
  text: z.string(),
  cache_control: cacheControl,
  citations,
})

const typeOf = (input: unknown): string =>
  typeof input === "object" && input !== null && "type" in input ? JSON.stringify(input.type) : "such"
const unsupported = (known: string) => ({
  error: (issue: { input?: unknown }) => `${typeOf(issue.input)} blocks are not supported here; ${known}`,
})

const documentSource = z.discriminatedUnion(
  "type",
  [
    openObject(`${BLOCK}.source`, {
      type: z.literal("text"),
      media_type: noEffect("is always text/plain"),
      data: z.string(),
    }),
    openObject(`${BLOCK}.source`, {
      type: z.literal("content"),
      content: z.union([z.string(), list(textBlock, LIMITS.parts)]),
    }),
  ],
  { error: (issue) => `a document has to be text here, and ${typeOf(issue.input)} is not; send its text` },
)

const documentBlock = openObject(BLOCK, {
  type: z.literal("document"),
  source: documentSource.describe("Text: a source of type text, or of type content with text blocks."),
  title: z.string().nullish(),
  context: z.string().nullish(),
  citations,
  cache_control: cacheControl,
})

const searchResult = openObject(BLOCK, {
  type: z.literal("search_result"),
  title: z.string(),
  source: z.string(),
  content: list(textBlock, LIMITS.parts),
  citations,
  cache_control: cacheControl,
})

const toolReference = openObject(BLOCK, {
  type: z.literal("tool_reference"),
  tool_name: z.string(),
  cache_control: cacheControl,
})

/** A call that the assistant made. */
const toolUseBlock = openObject(BLOCK, {
  type: z.literal("tool_use"),
  id: z.string().min(1),
  name: z.string().min(1),
  input: jsonObject.nullish(),
  caller,
  cache_control: cacheControl,
})

/** An image in a result. An agent that has read one could not go on if it were refused, so the model is told that it cannot see it. */
const resultImage = openObject(BLOCK, {
  type: z.literal("image"),
  source: noEffect("is an image in a tool's result, which the model is told that it cannot see"),
  cache_control: cacheControl,
})

const resultPart = z.discriminatedUnion(
  "type",
  [textBlock, documentBlock, searchResult, toolReference, resultImage],
  unsupported("a result is text, and so are documents and search_result blocks"),
)

const toolResultBlock = openObject(BLOCK, {
  type: z.literal("tool_result"),
  tool_use_id: z.string().min(1),
  content: z
    .union([z.string(), list(resultPart, LIMITS.parts)], { error: "expected a text or a list of text blocks" })
    .nullish(),
  is_error: z.boolean().nullish().describe("The model sees the content after `Error: `."),
  cache_control: cacheControl,
}).describe("The result of a call.")

const thinkingBlock = openObject(BLOCK, {
  type: z.literal("thinking"),
  thinking: z.string(),
  signature: noEffect("signs thinking, and it is not checked"),
}).describe("The thinking of an earlier answer, unchanged.")

const redactedThinking = openObject(BLOCK, {
  type: z.literal("redacted_thinking"),
  data: noEffect("is thinking that only Anthropic can read"),
})

const compaction = openObject(BLOCK, {
  type: z.literal("compaction"),
  content: z.string().nullish(),
  encrypted_content: noEffect("is a summary that only Anthropic can read"),
  cache_control: cacheControl,
}).describe("The summary of earlier messages.")

/** Blocks of tools that Anthropic runs, and of its own service. They say nothing that the assistant's texts do not. */
const HOSTED =
  /^(server_tool_use|\w+_tool_result|mcp_(tool_use|tool_listing|tool_result)|container_upload|fallback|tool_addition|tool_removal)$/

const hostedBlock = z
  .looseObject({ type: z.string().regex(HOSTED) })
  .transform(({ type }) => {
    noteIgnored(`${BLOCK}.type=${type}`, false)
    return { type: "hosted" as const }
  })
  .describe("A block of a tool that ran at Anthropic's service. Left out of the prompt.")

const userBlock = z.union([
  z.discriminatedUnion(
    "type",
    [textBlock, toolResultBlock, documentBlock, searchResult],
    unsupported("text, tool_result, search_result, and document with text are"),
  ),
  hostedBlock,
])
const assistantBlock = z.union([
  z.discriminatedUnion(
    "type",
    [textBlock, thinkingBlock, redactedThinking, toolUseBlock, compaction],
    unsupported("text, thinking and tool_use are"),
  ),
  hostedBlock,
])
export type Block = z.output<typeof userBlock> | z.output<typeof assistantBlock> | z.output<typeof resultPart>

export const system = z
  .union([z.string(), list(textBlock, LIMITS.parts)], { error: "expected a text or a list of text blocks" })
  .describe("The system prompt: a text, or text blocks, which are joined.")

const CONTENT_ERROR = { error: "expected a text or a list of blocks" }
export const message = z.discriminatedUnion(
  "role",
  [
    openObject("messages[]", {
      role: z.literal("user"),
      content: z.union([z.string(), list(userBlock, LIMITS.parts)], CONTENT_ERROR),
    }),
    openObject("messages[]", {
      role: z.literal("assistant"),
      content: z.union([z.string(), list(assistantBlock, LIMITS.parts)], CONTENT_ERROR),
    }),
    openObject("messages[]", { role: z.literal("system"), content: system }),
  ],
  { error: "expected a message whose role is user, assistant or system" },
)
export type MessageParam = z.output<typeof message>
