#!/usr/bin/env bun
/**
 * Takes the command line of llama-server and starts `rocmforge serve` in its place, in this process. Models that would be downloaded are
 * replaced by stand-ins (models.ts).
 *
 * Environment: PEER_SUITE_DATA, a folder with llama2.c's `stories260K.bin` and `tok512.bin`.
 */

import { mkdtemp, readFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { main } from "../../../src/cli/main.ts"
import { modelsFolder } from "../../../src/store/home.ts"
import { type StandIn, writeStandIn } from "./models.ts"

/** Flags of llama-server that take no value. */
const SWITCHES = new Set(
  (
    "offline cont-batching embedding reranking metrics kv-unified swa-full slots no-slots verbose context-shift no-ui " +
    "no-models-autoload jinja no-jinja no-mmproj no-cache-idle-slots ui-mcp-proxy backend_sampling"
  ).split(" "),
)

/** llama-server's own templates, by name, for the names that the suite uses; written after the published formats. */
const TEMPLATES: Record<string, string> = {
  chatml:
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}" +
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
  llama3:
    "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>{% endfor %}" +
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
  "command-r":
    "{% for m in messages %}<|START_OF_TURN_TOKEN|>{{ {'system': '<|SYSTEM_TOKEN|>', 'user': '<|USER_TOKEN|>'}.get(m.role, '<|CHATBOT_TOKEN|>') }}" +
    "{{ m.content | trim }}<|END_OF_TURN_TOKEN|>{% endfor %}" +
    "{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}",
}

/** Poolings by their number in files. */
const POOLINGS = ["none", "mean", "cls", "last"]

/** Models that the suite's router finds in its cache of downloads. */
const ROUTED = ["tinygemma3-GGUF:Q8_0", "test-model-stories260K:F32", "test-model-stories260K-infill:F32"]

const flags = readFlags(process.argv.slice(2))
const one = (name: string): string | undefined => flags.get(name)?.[0]
const has = (name: string): boolean => flags.has(name)
const folder = await mkdtemp(join(tmpdir(), "peer-suite-"))
process.exit(await main([process.execPath, "rocmforge", "serve", ...(await serveArguments())]))

function readFlags(args: readonly string[]): Map<string, string[]> {
  const found = new Map<string, string[]>()
  for (let i = 0; i < args.length; i++) {
    const name = (args[i] ?? "").replace(/^--?/, "")
    found.set(name, [...(found.get(name) ?? []), SWITCHES.has(name) ? "" : (args[++i] ?? "")])
  }
  return found
}

async function serveArguments(): Promise<string[]> {
  const slots = Number(one("parallel") ?? 4)
  const context = Number(one("ctx-size") ?? 0)
  const share = has("kv-unified") ? context : Math.floor(context / slots)
  const aliases = (one("alias") ?? "").split(",").filter((name) => name !== "")
  const [source, names] = await models([...aliases].sort())
  const list: [string, string | undefined][] = [
    ["port", one("port")],
    ["host", one("host")],
    ["api-key", one("api-key")],
    ["max-seqs", String(slots)],
    ["ctx-size", share > 0 ? String(share) : undefined],
    ["batch-size", one("batch-size") && String(Math.max(Number(one("batch-size")), slots))],
    ["kv-type", one("ctk")],
    ["max-models", one("models-max")],
    ["slot-save-path", one("slot-save-path")],
    ["keep-alive", one("sleep-idle-seconds")],
    ["speculative", has("model-draft") || has("spec-type") ? "ngram" : undefined],
    ["log-level", "warn"],
    ["cors-origin", one("cors-origins") ?? (has("tools") ? "localhost" : "*")],
  ]
  const given = list.flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, value]))
  const defaults = {
    temperature: Number(one("temp") ?? 0.8),
    seed: Number(one("seed") ?? -1),
    ...(has("n-predict") && { n_predict: Number(one("n-predict")) }),
    ...(has("verbose") && { verbose: true }),
    ...variables(await chatTemplate()),
  }
  const left = [
    ...(has("slots") ? [] : ["slots"]),
    ...(has("metrics") ? [] : ["metrics"]),
    ...(has("no-ui") ? ["pages"] : []),
  ]
  const tags = (one("tags") ?? "").split(",").filter((tag) => tag !== "")
  const parts = ["--llama-defaults", JSON.stringify(defaults), ...left.flatMap((name) => ["--disable", name])]
  // A router knows its models by name, and a single model is served under any name.
  const named = source.length > 1 ? [] : ["--any-model"]
  const manual = has("no-models-autoload") ? ["--no-autoload"] : []
  const described = tags.flatMap((tag) => ["--tag", tag])
  return [...source, ...names, ...described, ...given, ...parts, ...named, ...manual, "--in-process", "--device", "cpu"]
}

/**
 * Variables that llama-server gives to templates: the date, its switch for thinking, and FireFunction's own name of the tools, which is empty
 * here, since this server describes tools in the system message where a template does not know `tools`.
 */
function variables(template: string): Record<string, unknown> {
  const [day, month, year] = new Date().toUTCString().split(" ").slice(1)
  const given = {
    ...(template.includes("date_string") && { date_string: `${day} ${month} ${year}` }),
    ...(template.includes("datetime") && { datetime: `${month} ${day} ${year}` }),
    ...(/\bfunctions\b/.test(template) && !/\btools\b/.test(template) && { functions: "[]" }),
    ...(template.includes("enable_thinking") && { enable_thinking: one("reasoning") !== "off" }),
  }
  return Object.keys(given).length > 0 ? { chat_template_kwargs: given } : {}
}

/** Writes the models. @returns their files, and the options that name them. */
async function models(aliases: readonly string[]): Promise<[string[], string[]]> {
  const repository = one("hf-repo")
  const data = process.env.PEER_SUITE_DATA ?? ""
  const write = async (name: string, standIn: StandIn) => {
    const path = join(folder, `${name.replace(/[^\w.-]/g, "_")}.gguf`)
    await writeStandIn(path, standIn, data, modelsFolder())
    return path
  }
  const template = await chatTemplate()
  if (repository === undefined && !has("model")) {
    const routed: string[] = []
    for (const name of ROUTED)
      routed.push(await write(name, { kind: "stories", template, infill: name.includes("infill") }))
    const names = ROUTED.map((name, i) => `ggml-org/${name}=${(routed[i] ?? "").replace(/^.*\/|\.gguf$/g, "")}`)
    return [routed, names.flatMap((name) => ["--alias", name])]
  }
  const file = one("hf-file") ?? ""
  const kind = file.includes("reranker") ? "ranking" : file.includes("bert") ? "embedding" : "stories"
  const path = await write(aliases[0] ?? "model", {
    kind,
    pooling: kind === "ranking" ? 4 : POOLINGS.indexOf(one("pooling") ?? "mean"),
    template,
    infill: repository?.includes("infill") ?? false,
  })
  return [[path], aliases.flatMap((name) => ["--served-model-name", name])]
}

async function chatTemplate(): Promise<string> {
  const file = one("chat-template-file")
  if (file !== undefined) return await readFile(file, "utf8")
  const given = one("chat-template")
  return TEMPLATES[given ?? "chatml"] ?? given ?? ""
}
