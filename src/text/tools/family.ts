/** Finds the form of a model's tool calls from its chat template. */

import type { ChatTemplate } from "../chat-template.ts"
import type { ToolFormat } from "./format.ts"
import { hermes } from "./hermes.ts"
import { llama3 } from "./llama3.ts"
import { mistralList, mistralNamed, mistralSpaced } from "./mistral.ts"
import { smollm } from "./smollm.ts"

/** How a chat template supports tools. */
export interface ToolSupport {
  readonly format: ToolFormat
  /** The template describes the tools; otherwise a system prompt must. */
  readonly describes: boolean
  /** The template renders earlier calls and their results; otherwise they must be written as text. */
  readonly replays: boolean
}

/** Tests of a template's source that identify the form of calls it renders. The first match counts. */
const FAMILIES: readonly { format: ToolFormat; has: (source: string) => boolean }[] = [
  { format: mistralNamed, has: (source) => source.includes("[TOOL_CALLS]") && source.includes("[ARGS]") },
  { format: mistralSpaced, has: (source) => source.includes("[TOOL_CALLS] [") },
  { format: mistralList, has: (source) => source.includes("[TOOL_CALLS]") },
  // `<function=` is the form of Qwen3-Coder, which is not JSON.
  { format: hermes, has: (source) => source.includes("<tool_call>") && !source.includes("<function=") },
  {
    format: llama3,
    has: (source) => /<\|(start_)?header(_id|_start)\|>/.test(source) && source.includes('"parameters"'),
  },
]

/**
 * The form of calls for a template. For a template without tools, or with an unknown form, it is the form of SmolLM2 for SmolLM models,
 * else the form of Hermes, which models follow best when it is described to them.
 */
export function toolSupport(template: ChatTemplate): ToolSupport {
  let support = known.get(template)
  if (support === undefined) {
    support = findSupport(template)
    known.set(template, support)
  }
  return support
}

const known = new WeakMap<ChatTemplate, ToolSupport>()

function findSupport(template: ChatTemplate): ToolSupport {
  const source = template.source(template.variants.includes("tool_use") ? "tool_use" : undefined)
  const format = FAMILIES.find(({ has }) => has(source))?.format
  const describes = /\b(xml_)?tools\b/.test(source)
  if (format !== undefined && describes) return { format, describes, replays: /\btool_calls\b/.test(source) }
  return { format: source.includes("SmolLM") ? smollm : hermes, describes: false, replays: false }
}
