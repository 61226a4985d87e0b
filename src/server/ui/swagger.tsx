/** @jsxImportSource hono/jsx */
import { htmlResponse, Page } from "./layout.tsx"

/** Swagger UI for `/swagger/json`. This server also serves Swagger UI's own files. */
export const swaggerPage = (): Response =>
  htmlResponse(
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
