export { serveFile, type TestServer as FileServer } from "../../support/http.ts"
