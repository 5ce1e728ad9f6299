package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// document is openapi.json, found valid.
var document = sync.OnceValues(func() (*openapi3.T, error) {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(openAPI)
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(loader.Context)
})

func init() {
	// The schema says no more of lines than that they are a text.
	openapi3filter.RegisterBodyDecoder(typeNDJSON, openapi3filter.FileBodyDecoder)
}

// operation is what openapi.json has for a request that a Handler has answered;
// nil for addresses and methods that are not in it on purpose.
func operation(t *testing.T, r *http.Request) *openapi3filter.RequestValidationInput {
	t.Helper()
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	method, path, found := strings.Cut(r.Pattern, " ")
	if !found {
		return nil
	}
	item := doc.Paths.Value(path)
	if item == nil || item.GetOperation(method) == nil {
		t.Fatalf("openapi.json lacks %s", r.Pattern)
	}
	values := map[string]string{}
	for _, name := range []string{"channel", "user", "client"} {
		if value := r.PathValue(name); value != "" {
			values[name] = value
		}
	}
	return &openapi3filter.RequestValidationInput{Request: r, PathParams: values,
		Route:   &routers.Route{Spec: doc, Path: path, PathItem: item, Method: method, Operation: item.GetOperation(method)},
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, SkipSettingDefaults: true},
	}
}

// requestError is what openapi.json says against a request.
func requestError(input *openapi3filter.RequestValidationInput, body string) error {
	input.Request.Body, input.Request.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	return openapi3filter.ValidateRequest(context.Background(), input)
}

// responseError is what openapi.json says against an answer.
func responseError(input *openapi3filter.RequestValidationInput, status int, header http.Header, body string) error {
	response := &openapi3filter.ResponseValidationInput{RequestValidationInput: input, Status: status, Header: header, Options: input.Options}
	response.SetBodyBytes([]byte(body))
	return openapi3filter.ValidateResponse(context.Background(), response)
}

// checkAgainstOpenAPI holds a request that was taken, and every answer, against
// openapi.json.
func checkAgainstOpenAPI(t *testing.T, r *http.Request, body string, w *httptest.ResponseRecorder) {
	t.Helper()
	input := operation(t, r)
	if input == nil {
		return
	}
	if w.Code < 300 {
		if err := requestError(input, body); err != nil {
			t.Errorf("%s %s was taken, and is not what openapi.json allows: %v", r.Method, r.URL, err)
		}
	}
	if err := responseError(input, w.Code, w.Header(), w.Body.String()); err != nil {
		t.Errorf("the answer to %s %s is not what openapi.json says: %v\n%d %s", r.Method, r.URL, err, w.Code, w.Body)
	}
}

func TestOpenAPIIsServed(t *testing.T) {
	w := ask(t, newHandler(t, &fake{}, Config{}), "GET", "/v1/openapi.json", "")
	if !bytes.Equal(w.Body.Bytes(), openAPI) {
		t.Error("GET /v1/openapi.json is another file")
	}
}

// The harness must see what is wrong.
func TestOpenAPICheckSees(t *testing.T) {
	newInput := func() *openapi3filter.RequestValidationInput {
		r := httptest.NewRequest("POST", "/v1/publish", nil)
		r.Header.Set("Content-Type", "application/json")
		r.Pattern = "POST /v1/publish"
		return operation(t, r)
	}
	if err := requestError(newInput(), `{"channel":"c","data":1}`); err != nil {
		t.Errorf("a good request: %v", err)
	}
	for _, body := range []string{`{"channel":"c","date":1}`, `{"channel":"c"}`, `{"channel":5,"data":1}`, ``} {
		if requestError(newInput(), body) == nil {
			t.Errorf("the request %s passes", body)
		}
	}
	input, header := newInput(), http.Header{"Content-Type": {"application/json"}}
	if err := responseError(input, 200, header, askedOnce); err != nil {
		t.Errorf("a good answer: %v", err)
	}
	for _, body := range []string{`{"matched":"3","written":2,"complete":true,"duplicate":false}`, `{"matched":3}`, `{"matched":3,"written":2,"complete":true,"duplicate":false,"more":1}`} {
		if responseError(input, 200, header, body) == nil {
			t.Errorf("the answer %s passes", body)
		}
	}
	if responseError(input, 418, header, askedOnce) == nil {
		t.Error("an error that is no problem passes")
	}
}

// Every route, parameter and code is in openapi.json, and nothing else.
func TestOpenAPIIsComplete(t *testing.T) {
	var doc struct {
		Paths      map[string]map[string]json.RawMessage
		Components struct {
			Schemas struct {
				Problem struct {
					Properties struct{ Code struct{ Enum []Code } }
				}
			}
		}
	}
	if err := json.Unmarshal(openAPI, &doc); err != nil {
		t.Fatal(err)
	}
	var documented, served []string
	for path, item := range doc.Paths {
		for method, operation := range item {
			if method == "parameters" {
				continue
			}
			documented = append(documented, strings.ToUpper(method)+" "+path)
			for _, route := range routes {
				if route.path == path && strings.EqualFold(route.method, method) && route.scope != "" &&
					!strings.Contains(string(operation), fmt.Sprintf("Scope: `%s`.", route.scope)) {
					t.Errorf("openapi.json does not say that %s %s needs the scope %s", method, path, route.scope)
				}
			}
		}
	}
	for _, route := range routes {
		served = append(served, route.method+" "+route.path)
	}
	slices.Sort(documented)
	slices.Sort(served)
	if !slices.Equal(documented, served) {
		t.Errorf("openapi.json has %q\nserved are %q", documented, served)
	}
	source, err := os.ReadFile("problem.go")
	if err != nil {
		t.Fatal(err)
	}
	var codes []Code
	for _, m := range regexp.MustCompile(`Code = "(\w+)"`).FindAllSubmatch(source, -1) {
		codes = append(codes, Code(m[1]))
	}
	documentedCodes := doc.Components.Schemas.Problem.Properties.Code.Enum
	slices.Sort(codes)
	slices.Sort(documentedCodes)
	if len(codes) < 20 || !slices.Equal(codes, documentedCodes) {
		t.Errorf("openapi.json has the codes %q\nproblem.go has %q", documentedCodes, codes)
	}
}
