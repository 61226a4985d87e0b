/**
 * Llama 3 and 4: `{"name": …, "parameters": {…}}` without tags, several calls separated by `;`, and sometimes after `<|python_tag|>`.
 */

import { callMembers, callObject } from "./call-object.ts"
import { callId, type ToolFormat } from "./format.ts"
import { hermes } from "./hermes.ts"

const TAG = "<|python_tag|>"

export const llama3: ToolFormat = {
  name: "llama3",
  marks: [TAG],
  spelling: {
    trigger: '{"name": "',
    open: "",
    call: (name) => ({ begin: `${name}", "parameters": `, end: "}" }),
    close: "",
    between: "; ",
  },
  *read(reader, tools) {
    for (;;) {
      const mark = yield* reader.textUpTo([TAG, "{"])
      if (mark === undefined) return
      if (mark === TAG) yield* reader.space()
      const read = mark === TAG ? callObject : callMembers
      if (yield* read(reader, tools)) {
        yield* reader.space()
        if (yield* reader.literal(";")) reader.drop()
      }
    }
  },
  prompt: hermes.prompt,
  newId: callId,
  /** Gives each call a message of its own. */
  replay(message) {
    const calls = message.tool_calls ?? []
    if (calls.length < 2) return [message]
    return calls.map((call, i) => ({ ...message, content: i === 0 ? message.content : "", tool_calls: [call] }))
  },
}
