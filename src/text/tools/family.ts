/** Which form a model's calls have, as its chat template shows. */

import type { ChatTemplate } from "../chat-template.ts"
import type { ToolFormat } from "./format.ts"
import { hermes } from "./hermes.ts"
import { llama3 } from "./llama3.ts"
import { mistralList, mistralNamed, mistralSpaced } from "./mistral.ts"
import { smollm } from "./smollm.ts"

/** What a chat template does about tools. */
export interface ToolSupport {
  readonly format: ToolFormat
  /** It describes tools by itself; otherwise a system prompt has to. */
  readonly describes: boolean
  /** It writes earlier calls and their results by itself; otherwise they have to be text. */
  readonly replays: boolean
}

/** Words that only templates use which write their model's own form of calls; the first that matches counts. */
const FAMILIES: readonly { format: ToolFormat; has: (source: string) => boolean }[] = [
  { format: mistralNamed, has: (source) => source.includes("[TOOL_CALLS]") && source.includes("[ARGS]") },
  { format: mistralSpaced, has: (source) => source.includes("[TOOL_CALLS] [") },
  { format: mistralList, has: (source) => source.includes("[TOOL_CALLS]") },
  // `<function=` is Qwen3-Coder's form, which has no JSON.
  { format: hermes, has: (source) => source.includes("<tool_call>") && !source.includes("<function=") },
  {
    format: llama3,
    has: (source) => /<\|(start_)?header(_id|_start)\|>/.test(source) && source.includes('"parameters"'),
  },
]

/**
 * The form of a template's family; where it knows no tools, or writes them in a form that is none of these, that of SmolLM2 for its kin,
 * and else Hermes', which models follow best when it is described to them.
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
