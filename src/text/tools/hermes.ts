/**
 * Hermes, Qwen and related models: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, once for each call. Models whose templates do
 * not support tools are asked for this form.
 */

import { callList, callObject } from "./call-object.ts"
import { callId, type ToolFormat, toolJson } from "./format.ts"
import type { Reader, Reading } from "./reader.ts"

const OPEN = "<tool_call>"
const CLOSE = "</tool_call>"

export const hermes: ToolFormat = {
  name: "hermes",
  marks: [OPEN, CLOSE],
  spelling: {
    trigger: OPEN,
    open: "\n",
    call: (name) => ({ begin: `{"name": ${JSON.stringify(name)}, "arguments": `, end: "}" }),
    close: `\n${CLOSE}`,
    between: "\n",
  },
  read: readTagged,
  prompt: (tools) =>
    [
      "# Tools",
      "",
      "These functions can be called, each described by its JSON Schema:",
      "<tools>",
      ...tools.map((tool) => JSON.stringify(toolJson(tool))),
      "</tools>",
      "",
      "To call one, answer with its name and arguments as JSON between these tags, once for each call:",
      OPEN,
      '{"name": "function_name", "arguments": {"argument": "value"}}',
      CLOSE,
      "The results come in the next message. Answer in plain text where no function helps.",
    ].join("\n"),
  newId: callId,
}

/** Reads calls or lists of calls between tags. The last closing tag may be missing. */
export function* readTagged(reader: Reader, tools: readonly string[]): Reading {
  while (yield* reader.textUpTo([OPEN])) {
    yield* reader.space()
    const read = (yield* reader.peek()) === "[" ? callList : callObject
    if (yield* read(reader, tools)) {
      reader.drop()
      yield* reader.space()
      if (yield* reader.literal(CLOSE)) reader.drop()
    }
  }
}
