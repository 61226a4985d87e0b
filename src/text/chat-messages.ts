import { parseJson } from "../json.ts"

/** One part of a message's content, as OpenAI clients send it. */
interface ContentPart {
  type: string
  text?: string
}

/** A tool call that the assistant made. */
export interface ToolCall {
  id?: string
  type?: string
  /** `arguments` is JSON text, as in the OpenAI API, or already an object. */
  function: { name: string; arguments: string | Record<string, unknown> }
}

/** A message of a conversation, in the form of the OpenAI API. Other fields are passed to the template unchanged. */
export interface ChatMessage {
  role: string
  content?: string | readonly ContentPart[] | null
  name?: string
  tool_calls?: readonly ToolCall[]
  tool_call_id?: string
  [field: string]: unknown
}

/** The text of a message's content: its text parts joined, or "" for null. Parts of other kinds are left out. */
export function contentText(content: ChatMessage["content"]): string {
  if (typeof content === "string") return content
  return (content ?? []).map((part) => part.text ?? "").join("")
}

/** Arguments as an object: templates write them with `tojson`, which would quote JSON text twice. */
function parsedArguments(args: string | Record<string, unknown>): unknown {
  if (typeof args !== "string") return args
  try {
    const parsed: unknown = parseJson(args)
    return typeof parsed === "object" && parsed !== null ? parsed : args
  } catch {
    // A model may have produced arguments that are not JSON; the template then shows them unchanged.
    return args
  }
}

/** A message in the form that templates expect: content is a string, null fields are removed, call arguments are objects. */
export function normaliseMessage(message: ChatMessage): Record<string, unknown> {
  const { tool_calls: toolCalls, ...rest } = message
  const present = Object.entries(rest).filter(([, value]) => value !== undefined && value !== null)
  const calls = toolCalls?.map((call) => ({
    ...call,
    function: { ...call.function, arguments: parsedArguments(call.function.arguments) },
  }))
  return {
    ...Object.fromEntries(present),
    content: contentText(message.content),
    ...(calls && calls.length > 0 ? { tool_calls: calls } : {}),
  }
}
