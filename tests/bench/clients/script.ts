/**
 * What the scripted model answers: a function of the prompt alone, so that a test of a client judges the protocol and not a model's wits.
 * The user's message holds the script, as directives in double angle brackets:
 *
 *     <<call NAME {"argument": 1}>>   calls a tool; several calls are made one after another, each after the result of the previous one
 *     <<say TEXT>>                    the answer after all calls; `{result}` in it stands for the last tool's result
 *
 * A message without directives is answered with {@link GREETING}.
 */

export const GREETING = "Hello! I am a scripted model."

/**
 * The template of the scripted model's prompts, which `answerTo` reads. Calls have the form of Hermes. It has no variables of the
 * template dialect that need more than a list of messages and tools.
 */
export const SCRIPT_TEMPLATE = [
  "{%- if tools %}<|im_start|>tools\n<tools>\n",
  "{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}</tools><|im_end|>\n{% endif %}",
  "{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content or '' }}",
  "{%- for call in message.tool_calls or [] %}<tool_call>\n",
  '{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}\n</tool_call>',
  "{%- endfor %}<|im_end|>\n{% endfor %}",
  "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
].join("")

interface Turn {
  readonly role: string
  readonly text: string
}

/** The turns of a prompt that {@link SCRIPT_TEMPLATE} rendered, without the last, empty one. */
function turnsOf(prompt: string): Turn[] {
  const turns = prompt.split("<|im_start|>").slice(1)
  return turns.slice(0, -1).map((turn) => {
    const line = turn.indexOf("\n")
    return { role: turn.slice(0, line), text: turn.slice(line + 1).replace(/<\|im_end\|>\s*$/, "") }
  })
}

/** Names of the tools that the prompt lists. */
function toolsOf(turns: readonly Turn[]): string[] {
  const list = turns.find(({ role }) => role === "tools")?.text ?? ""
  return list
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => (JSON.parse(line) as { function: { name: string } }).function.name)
}

const DIRECTIVE = /<<(call|say)\s+([\s\S]*?)>>/g

/**
 * The answer to a prompt.
 * @param wantsJson The text must be JSON, so a call of a tool that the prompt does not list is written as a JSON object, the way in which
 * clients ask for calls where a server has none.
 */
export function answerTo(prompt: string, wantsJson = false): string {
  const turns = turnsOf(prompt)
  const asked = turns.findLastIndex(({ role, text }) => role === "user" && text.match(DIRECTIVE) !== null)
  if (asked < 0) return GREETING
  const directives = [...(turns[asked]?.text ?? "").matchAll(DIRECTIVE)]
  const tools = toolsOf(turns)
  const nameOf = (wanted: string) =>
    tools.find((name) => name === wanted) ?? tools.find((name) => name.endsWith(wanted))
  const calls = directives
    .filter(([, kind]) => kind === "call")
    .map(([, , call = ""]) => {
      const [, name = "", args = "{}"] = /^(\S+)\s*([\s\S]*)$/.exec(call) ?? []
      // opencode writes its command line as a JSON string.
      return { known: nameOf(name), name, args: args.startsWith('{\\"') ? args.replaceAll('\\"', '"') : args }
    })
  const results = turns.slice(asked + 1).filter(({ role }) => role === "tool")
  const next = calls[results.length]
  if (next?.known !== undefined)
    return `<tool_call>\n{"name": ${JSON.stringify(next.known)}, "arguments": ${next.args}}\n</tool_call>`
  if (next !== undefined && wantsJson) return `{"name": ${JSON.stringify(next.name)}, "arguments": ${next.args}}`
  const said = directives.find(([, kind]) => kind === "say")?.[2] ?? (results.length > 0 ? "{result}" : GREETING)
  return said.replaceAll("{result}", results.at(-1)?.text.trim() ?? "")
}
