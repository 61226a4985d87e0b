/** The error of a model that cannot be run, with a remedy for each kind of problem. */

export type ModelErrorCode =
  | "unknown-architecture"
  | "bad-config"
  | "missing-tensor"
  | "wrong-shape"
  | "wrong-format"
  | "unused-tensor"
  | "unsupported"

const REMEDIES: Record<ModelErrorCode, string> = {
  "unknown-architecture": "use a model of a known architecture",
  "bad-config": "the file's metadata contradicts itself: convert the model again with a current tool",
  "missing-tensor": "the file is not a complete model of this architecture: download or convert it again",
  "wrong-shape": "the file's tensors contradict its metadata: convert the model again with a current tool",
  "wrong-format": "convert the model again with norms and biases in F32",
  "unused-tensor": "ROCmForge does not compute what this tensor is for: use another conversion of the model",
  unsupported: "use a model without this feature",
}

/** The model of a readable GGUF file cannot be run. The message names the key, tensor or layer at fault, and the remedy. */
export class ModelError extends Error {
  override readonly name = "ModelError"
  readonly code: ModelErrorCode
  readonly remedy: string

  constructor(code: ModelErrorCode, path: string, problem: string, remedy: string = REMEDIES[code]) {
    super(`${path}: ${problem} (${remedy})`)
    this.code = code
    this.remedy = remedy
  }
}
