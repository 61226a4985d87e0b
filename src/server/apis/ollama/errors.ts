/** Errors as Ollama's clients read them: `{error: message}`. The message names the field at fault. */

import type { ApiError } from "../../http/errors.ts"

export const ollamaErrorBody = ({ message }: ApiError): { error: string } => ({ error: message })
