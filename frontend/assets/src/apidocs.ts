// The browsable reference under /api/docs: Swagger UI over this platform's own OpenAPI document.
import SwaggerUI from "swagger-ui-dist/swagger-ui-es-bundle.js";

const place = document.getElementById("api-docs");
if (place !== null) {
  SwaggerUI({
    domNode: place,
    url: place.dataset["document"],
    deepLinking: true,
    docExpansion: "none",
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    filter: true,
    persistAuthorization: false,
    validatorUrl: null,
    // A request with the session's cookie must show that our own page sent it.
    requestInterceptor: (request: { headers: Record<string, string> }) => {
      request.headers["X-Requested-With"] = "api-docs";
      return request;
    },
  });
}
