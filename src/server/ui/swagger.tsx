/** @jsxImportSource hono/jsx */
import { document, Page } from "./layout.tsx"

/** Swagger UI over `/swagger/json`, with its files from this server. */
export const swaggerPage = (): string =>
  document(
    <Page
      title="ROCmForge API"
      styles={["/swagger/assets/swagger-ui.css", "/ui/swagger.css"]}
      scripts={["/swagger/assets/swagger-ui.js", "/ui/swagger.js"]}
    >
      <header class="bar">
        <a href="/">ROCmForge</a>
      </header>
      <main id="swagger-ui" />
    </Page>,
  )
