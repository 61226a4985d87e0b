/** Which chat template a conversation is written with: the model's, or that of the request. */

import type { LoadedModel } from "../../engine/types.ts"
import { type ChatTemplate, chatTemplateFromMetadata } from "../../text/index.ts"
import type { Tokenizer } from "../../text/tokenizer/types.ts"
import type { Conversation } from "./request.ts"

/** Limits of a template of a request, which is trusted less than a model's. */
const LIMITS = { timeMs: 250, stringLength: 4 << 20 }

/** Templates of requests that are kept for each model. An agent sends the same one with every request. */
const MAX_KEPT = 16

const kept = new WeakMap<Tokenizer, Map<string, ChatTemplate>>()

/** A model with the chat template of a conversation; `undefined` where there is none. */
export const withTemplate = (
  { name, tokenizer, chatTemplate }: LoadedModel,
  { chatTemplate: source }: Pick<Conversation, "chatTemplate">,
): Pick<LoadedModel, "name" | "chatTemplate"> => ({
  name,
  chatTemplate: source === undefined ? chatTemplate : requestTemplate(tokenizer, source),
})

/** The template of this source. It is parsed when it renders for the first time. */
function requestTemplate(tokenizer: Tokenizer, source: string): ChatTemplate {
  const templates = kept.get(tokenizer) ?? new Map<string, ChatTemplate>()
  kept.set(tokenizer, templates)
  const template = templates.get(source) ?? chatTemplateFromMetadata(() => undefined, tokenizer, source, LIMITS)
  // The one that was used last is kept longest.
  templates.delete(source)
  templates.set(source, template)
  const [oldest] = templates.keys()
  if (oldest !== undefined && templates.size > MAX_KEPT) templates.delete(oldest)
  return template
}
