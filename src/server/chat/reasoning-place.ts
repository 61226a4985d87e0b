/** Where an answer shows its reasoning. */

import type { ReasoningMarks } from "../../text/index.ts"
import type { ChatEvent } from "./chat.ts"

/** In parts of its own, in the content between the model's marks, in both, or nowhere. */
export type ReasoningPlace = "apart" | "content" | "both" | "nowhere"

/** The events of an answer with its reasoning in another place. @param events As `chatEvents` returns them. */
export async function* withReasoning(
  events: AsyncIterable<ChatEvent>,
  place: ReasoningPlace,
  marks: ReasoningMarks,
): AsyncGenerator<ChatEvent, void, void> {
  /** Choices whose reasoning has begun in the content, and has not ended. */
  const open = new Set<number>()
  for await (const event of events) {
    if (event.type === "reasoning") {
      const { text, index, type, ...carried } = event
      if (place === "apart") yield event
      else if (place !== "nowhere") {
        const begin = open.has(index) ? "" : `${marks.open}\n`
        open.add(index)
        if (place === "both") yield { type, index, text }
        yield { ...carried, type: "content", index, text: begin + text }
      } else if (Object.keys(carried).length > 0) yield { ...carried, type: "content", index, text: "" }
      continue
    }
    const end = `\n${marks.close}\n\n`
    if (event.type === "content" && event.text !== "" && open.delete(event.index))
      yield { ...event, text: end + event.text }
    else {
      if (event.type === "tool_call" && open.delete(event.index))
        yield { type: "content", index: event.index, text: end }
      yield event
    }
  }
}
