/** Checked by the compiler alone: what the server says it answers is what Anthropic's client says it gets. */

import type Anthropic from "@anthropic-ai/sdk"
import type { MessageEvent, MessagesResponse } from "../../../src/server/apis/anthropic/schema.ts"

export const message = (body: MessagesResponse): Anthropic.Message => body
export const event = (body: Exclude<MessageEvent, { type: "ping" | "error" }>): Anthropic.RawMessageStreamEvent => body
