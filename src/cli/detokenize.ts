import type { CommandSpec } from "./command.ts"
import { EXIT, UsageError } from "./exit.ts"
import { readText } from "./input.ts"
import { openModelFile, takeModel, tokenizerOf } from "./model-argument.ts"
import { readOptions } from "./options/commander.ts"
import { wholeNumber } from "./options/schemas.ts"
import { printLine } from "./output.ts"

export const detokenize: CommandSpec = {
  name: "detokenize",
  usage: "MODEL IDS…",
  summary: "Show the text of token ids",
  description:
    "IDS are numbers separated by spaces or commas; without IDS they are read from standard input. " +
    "Control tokens are left out unless --special is given. Bytes that are not UTF-8 become U+FFFD.",
  examples: ["rocmforge detokenize smollm2-135m 19556 905", "rocmforge detokenize model.gguf --special 1,2 --json"],
  options: ["model", "gguf", "special", "json"],
  run: async (command, positional) => {
    const { model, rest } = takeModel(command, positional)
    const { special, json } = readOptions(command, ["special", "json"])
    const source = rest.length > 0 ? rest.join(" ") : await readText("ids", undefined, undefined)
    const tokenizer = tokenizerOf(await openModelFile(model))
    const id = wholeNumber(0, tokenizer.vocabSize - 1)
    const ids = source.split(/[\s,[\]]+/).filter((word) => word !== "")
    const numbers = ids.map((word) => {
      const parsed = id.safeParse(word)
      if (!parsed.success) throw new UsageError(`a token id ${parsed.error.issues[0]?.message}, not "${word}"`)
      return parsed.data
    })
    const text = tokenizer.decode(numbers, { special })
    if (json)
      await printLine(JSON.stringify({ text, tokens: numbers.map((n) => ({ id: n, piece: tokenizer.piece(n) })) }))
    else await printLine(text)
    return EXIT.ok
  },
}
