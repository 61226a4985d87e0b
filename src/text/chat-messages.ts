/** One part of a message's content, as OpenAI clients send it. */
interface ContentPart {
  type: string
  text?: string
}

/** A call of a tool that the assistant made. */
export interface ToolCall {
  id?: string
  type?: string
  /** `arguments` is JSON text, as in the OpenAI API, or already an object. */
  function: { name: string; arguments: string | Record<string, unknown> }
}

/** A message of a conversation in the OpenAI shape; other fields go to the template as they are. */
export interface ChatMessage {
  role: string
  content?: string | readonly ContentPart[] | null
  name?: string
  tool_calls?: readonly ToolCall[]
  tool_call_id?: string
  [field: string]: unknown
}

/** Text of a message's content: parts of text joined, nothing for null. Parts of other kinds have no text and are left out. */
export function contentText(content: ChatMessage["content"]): string {
  if (typeof content === "string") return content
  return (content ?? []).map((part) => part.text ?? "").join("")
}

/** Templates write arguments with `tojson`, so JSON text would be quoted twice. */
function parsedArguments(args: string | Record<string, unknown>): unknown {
  if (typeof args !== "string") return args
  try {
    const parsed: unknown = JSON.parse(args)
    return typeof parsed === "object" && parsed !== null ? parsed : args
  } catch {
    // A model may have produced arguments that are no JSON; the template then shows them as they were.
    return args
  }
}

/** A message as templates expect it: content is always a string, absent fields are absent, call arguments are objects. */
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
