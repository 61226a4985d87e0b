import type { CommandSpec } from "./command.ts"
import { EXIT, UsageError } from "./exit.ts"
import { printable, table } from "./format.ts"
import { readText } from "./input.ts"
import { openModelFile, refuseRest, takeModel, tokenizerOf } from "./model-argument.ts"
import { readOptions } from "./options/commander.ts"
import { printLine } from "./output.ts"

export const tokenize: CommandSpec = {
  name: "tokenize",
  usage: "MODEL [TEXT | --file F]",
  summary: "Show the tokens of a text: id and piece",
  description:
    "Without TEXT and --file (or with -) the text is read from standard input; one newline at its end is removed.",
  examples: [
    'rocmforge tokenize smollm2-135m "Hello world"',
    'rocmforge tokenize model.gguf --special "<|im_start|>user" --json',
    "rocmforge tokenize model.gguf --file book.txt --json | jq length",
  ],
  options: ["model", "gguf", "file", "special", "bos", "json"],
  run: async (command, positional) => {
    const { model, rest } = takeModel(command, positional)
    const [text, ...more] = rest
    refuseRest(more)
    const { file, special, bos, json } = readOptions(command, ["file", "special", "bos", "json"])
    const input = await readText("text", text, file)
    const tokenizer = tokenizerOf(await openModelFile(model))
    if (bos && tokenizer.bosId === undefined) throw new UsageError("this model has no BOS token; leave out --bos")
    const ids = Array.from(tokenizer.encode(input, { special, addBos: bos }))
    const tokens = ids.map((id) => ({ id, piece: tokenizer.piece(id) }))
    if (json) await printLine(JSON.stringify(tokens))
    else if (tokens.length > 0)
      await printLine(
        table(
          tokens.map(({ id, piece }) => [String(id), printable(piece)]),
          "",
        ),
      )
    return EXIT.ok
  },
}
