/** The events of a response's stream. */

import { z } from "zod"
import { outputItem, outputLogprobs, outputText, reasoningPart } from "./items-schema.ts"
import { responseSchema } from "./schema.ts"

const sequence_number = z.int().describe("Counts the events, from 0.")
const ofResponse = <T extends string>(...types: T[]) =>
  z.object({ type: z.enum(types), sequence_number, response: responseSchema })
const ofItem = <T extends string>(type: T) =>
  z.object({ type: z.literal(type), sequence_number, output_index: z.int(), item: outputItem })
const inItem = { sequence_number, output_index: z.int(), item_id: z.string() }
const inPart = { ...inItem, content_index: z.int() }
const part = z.union([outputText, reasoningPart])

export const responseEvent = z.discriminatedUnion("type", [
  ofResponse("response.created", "response.queued", "response.in_progress"),
  ofItem("response.output_item.added"),
  z.object({ type: z.literal("response.content_part.added"), ...inPart, part }),
  z.object({ type: z.literal("response.output_text.delta"), ...inPart, delta: z.string(), logprobs: outputLogprobs }),
  z.object({ type: z.literal("response.output_text.done"), ...inPart, text: z.string(), logprobs: outputLogprobs }),
  z.object({ type: z.literal("response.reasoning_text.delta"), ...inPart, delta: z.string() }),
  z.object({ type: z.literal("response.reasoning_text.done"), ...inPart, text: z.string() }),
  z.object({ type: z.literal("response.content_part.done"), ...inPart, part }),
  z.object({ type: z.literal("response.function_call_arguments.delta"), ...inItem, delta: z.string() }),
  z.object({
    type: z.literal("response.function_call_arguments.done"),
    ...inItem,
    name: z.string(),
    arguments: z.string(),
  }),
  ofItem("response.output_item.done"),
  ofResponse("response.completed", "response.incomplete", "response.failed"),
])
export type ResponseEvent = z.output<typeof responseEvent>
