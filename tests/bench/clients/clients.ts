/** The clients, and what each is installed from. */

export const FEATURES = ["chat", "stream", "tools", "structured", "embeddings"] as const
export type Feature = (typeof FEATURES)[number]

/** An environment of its own: a folder of npm packages, or a virtual environment of Python packages. */
export interface Environment {
  readonly kind: "npm" | "pip"
  readonly packages: readonly string[]
  /** Packages whose install scripts place the program for this platform. */
  readonly scripts?: readonly string[]
}

export const ENVIRONMENTS = {
  js: {
    kind: "npm",
    packages: [
      ...["openai", "@anthropic-ai/sdk", "ollama", "zod"],
      ...["ai", "@ai-sdk/openai-compatible", "@ai-sdk/openai", "@ai-sdk/anthropic"],
      ...["@langchain/core", "@langchain/openai", "@langchain/ollama", "@langchain/anthropic"],
    ],
  },
  python: {
    kind: "pip",
    packages: [
      ...["openai", "anthropic", "ollama", "litellm", "instructor", "openai-agents", "dspy", "llm", "llm-ollama"],
      ...["langchain-openai", "langchain-ollama", "langchain-anthropic"],
      ...["llama-index-llms-openai-like", "llama-index-llms-ollama"],
      ...["llama-index-embeddings-openai-like", "llama-index-embeddings-ollama"],
      ...["haystack-ai", "ollama-haystack"],
    ],
  },
  // Of its own, since it fails with the types of Anthropic's client from version 1 on.
  "pydantic-ai": { kind: "pip", packages: ["pydantic-ai-slim[openai,anthropic]", "anthropic<1"] },
  "claude-code": { kind: "npm", packages: ["@anthropic-ai/claude-code"], scripts: ["@anthropic-ai/claude-code"] },
  codex: { kind: "npm", packages: ["@openai/codex"] },
  "qwen-code": { kind: "npm", packages: ["@qwen-code/qwen-code"] },
  opencode: { kind: "npm", packages: ["opencode-ai"], scripts: ["opencode-ai"] },
  continue: { kind: "npm", packages: ["@continuedev/cli"] },
  cline: { kind: "npm", packages: ["cline"], scripts: ["cline"] },
  // Of its own, since it pins the versions of all its packages.
  aider: { kind: "pip", packages: ["aider-chat"] },
} as const satisfies Record<string, Environment>

export type EnvironmentName = keyof typeof ENVIRONMENTS

export interface Client {
  readonly name: string
  readonly environment: EnvironmentName
  /** The package whose version is printed. */
  readonly package: string
  /** A program of `python/` or `js/`; absent for agents, which are programs of their own. */
  readonly program?: string
  /** The program's variable PROVIDER. */
  readonly provider?: string
  /** The name that an agent gives the model. Default: `scripted`. */
  readonly model?: string
  /**
   * Texts come from the scripted model: the client asks for their form in words, which a small model may not follow, or fails where a text is
   * cut off, which a small model may not end.
   */
  readonly scripted?: boolean
  /** Features that do not exist in the client, or that its own program leaves out. */
  readonly without?: readonly Feature[]
}

const library = (
  environment: "js" | "python" | "pydantic-ai",
  program: string,
  from: string,
  providers: Readonly<Record<string, readonly Feature[]>>,
): Client[] =>
  Object.entries(providers).map(([provider, without]) => ({
    name: `${from}${environment === "js" ? " (JS)" : ""}${provider === "" ? "" : ` ${provider}`}`,
    environment,
    package: from,
    program,
    provider,
    without,
  }))

const scripted = (client: Client): Client => ({ ...client, scripted: true })

const NO_EMBEDDINGS = ["embeddings"] as const
const agent = (name: EnvironmentName, from: string, without: readonly Feature[] = NO_EMBEDDINGS): Client => ({
  name,
  environment: name,
  package: from,
  without,
})
/** An agent that sends other requests to models whose names it knows. */
const named = (name: EnvironmentName, from: string, model: string): Client => ({
  ...agent(name, from),
  name: `${name} ${model}`,
  model,
})

/** Names of other makers' models that the server gives the scripted model. */
export const ALIASES = ["claude-sonnet-4-5", "gpt-5.5", "gpt-6-sol"] as const

export const CLIENTS: readonly Client[] = [
  agent("claude-code", "@anthropic-ai/claude-code"),
  named("claude-code", "@anthropic-ai/claude-code", "claude-sonnet-4-5"),
  agent("codex", "@openai/codex"),
  named("codex", "@openai/codex", "gpt-5.5"),
  named("codex", "@openai/codex", "gpt-6-sol"),
  agent("qwen-code", "@qwen-code/qwen-code"),
  agent("opencode", "opencode-ai", ["structured", "embeddings"]),
  agent("continue", "@continuedev/cli", ["structured", "embeddings"]),
  agent("cline", "cline", ["structured", "embeddings"]),
  agent("aider", "aider-chat", ["structured", "embeddings"]),
  ...library("python", "openai_chat", "openai", { "": [] }),
  ...library("python", "openai_responses", "openai", { responses: NO_EMBEDDINGS }),
  ...library("python", "anthropic_py", "anthropic", { "": NO_EMBEDDINGS }),
  ...library("python", "ollama_py", "ollama", { "": [] }),
  ...library("python", "litellm_providers", "litellm", {
    openai: [],
    "openai/responses": NO_EMBEDDINGS,
    hosted_vllm: [],
    lm_studio: [],
    llamafile: NO_EMBEDDINGS,
    ollama: [],
    ollama_chat: NO_EMBEDDINGS,
    anthropic: NO_EMBEDDINGS,
  }),
  ...library("python", "langchain_models", "langchain-openai", { openai: [], "openai-responses": NO_EMBEDDINGS }),
  ...library("python", "langchain_models", "langchain-ollama", { ollama: [] }),
  ...library("python", "langchain_models", "langchain-anthropic", { anthropic: NO_EMBEDDINGS }),
  ...library("python", "llama_index_models", "llama-index-llms-openai-like", { "openai-like": [] }),
  ...library("python", "llama_index_models", "llama-index-llms-ollama", { ollama: [] }),
  ...library("python", "haystack_models", "haystack-ai", { openai: [] }),
  ...library("python", "haystack_models", "ollama-haystack", { ollama: [] }),
  ...library("python", "instructor_modes", "instructor", {
    openai: ["chat", "stream", "tools", "embeddings"],
    anthropic: ["chat", "stream", "tools", "embeddings"],
  }),
  ...library("pydantic-ai", "pydantic_ai_agents", "pydantic-ai-slim", {
    openai: NO_EMBEDDINGS,
    "openai-responses": NO_EMBEDDINGS,
    anthropic: NO_EMBEDDINGS,
    ollama: NO_EMBEDDINGS,
  }),
  ...library("python", "openai_agents", "openai-agents", { chat: NO_EMBEDDINGS, responses: NO_EMBEDDINGS }).map(
    scripted,
  ),
  ...library("python", "llm_models", "llm", { openai: NO_EMBEDDINGS, ollama: [] }),
  ...library("python", "dspy_programs", "dspy", { "": ["stream", "tools"] }).map(scripted),
  ...library("js", "openai", "openai", { chat: [], responses: NO_EMBEDDINGS }),
  ...library("js", "anthropic", "@anthropic-ai/sdk", { "": NO_EMBEDDINGS }),
  ...library("js", "ollama", "ollama", { "": [] }),
  ...library("js", "ai-sdk", "@ai-sdk/openai-compatible", { "openai-compatible": [] }),
  ...library("js", "ai-sdk", "@ai-sdk/openai", { openai: [], "openai-chat": NO_EMBEDDINGS }),
  ...library("js", "ai-sdk", "@ai-sdk/anthropic", { anthropic: NO_EMBEDDINGS }),
  ...library("js", "langchain", "@langchain/openai", { openai: [], "openai-responses": NO_EMBEDDINGS }),
  ...library("js", "langchain", "@langchain/ollama", { ollama: [] }),
  ...library("js", "langchain", "@langchain/anthropic", { anthropic: NO_EMBEDDINGS }),
]
