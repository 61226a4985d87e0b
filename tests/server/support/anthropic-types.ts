/** Compile-time check: the types of the server's answers are those that Anthropic's client declares. */

import type Anthropic from "@anthropic-ai/sdk"
import type { MessageEvent, MessagesResponse } from "../../../src/server/apis/anthropic/schema.ts"

export const message = (body: MessagesResponse): Anthropic.Message => body
export const event = (body: Exclude<MessageEvent, { type: "ping" | "error" }>): Anthropic.RawMessageStreamEvent => body
