/** Templates of one request (`/api/generate`), as far as they are texts with two places: `{{ .System }}` and `{{ .Prompt }}`. */

/** An action of Go's templates. */
const ACTION = /\{\{-?\s*(.*?)\s*-?\}\}/gs

/** Whether a template has no other actions than {@link fillTemplate} knows. `.Response` stands at the end, where the answer begins. */
export const isPromptTemplate = (template: string): boolean =>
  template
    .replace(/\{\{-?\s*\.Response\s*-?\}\}\s*$/, "")
    .match(ACTION)
    ?.every((action) => nameOf(action)) ?? true

const nameOf = (action: string): "system" | "prompt" | undefined => {
  const [, name] = /^\{\{-?\s*\.(System|Prompt)\s*-?\}\}$/.exec(action) ?? []
  return name === "System" ? "system" : name === "Prompt" ? "prompt" : undefined
}

/** The prompt that a template makes. Its first lines are those of the system message. `{{-` and `-}}` remove the white space there. */
export function fillTemplate(template: string, texts: { system: string; prompt: string }): string {
  return template
    .replace(/\s*\{\{-/g, "{{")
    .replace(/-\}\}\s*/g, "}}")
    .replace(/\{\{\s*\.Response\s*\}\}\s*$/, "")
    .replace(ACTION, (action) => texts[nameOf(action) ?? "prompt"])
}
