# descant: every target installs the native parts it needs by itself (see scripts/setup).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export DESCANT_CACHE := $(or $(DESCANT_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/descant)
GO ?= go
# Flags of plain go commands; `make env` prints the same for a shell.
native := CGO_ENABLED=1 CGO_LDFLAGS=-L$(DESCANT_CACHE)/native/tokenizers-1.26.0 GOEXPERIMENT=simd

.PHONY: help bench-serve bench-train check-gguf soak setup setup-servers env build demo test bench lint e2e gen docs tiny-base parity-data clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install the native parts into the per-user cache (idempotent)
	@$(GO) run ./scripts/setup

setup-servers:
	@$(GO) run ./scripts/setup --servers

.PHONY: setup-tests
setup-tests:
	@$(GO) run ./scripts/setup --servers --sdks

env: ## print the export lines that plain go build and go test need
	@$(GO) run ./scripts/setup --env

build: setup ## build the binary: build/descant
	@mkdir -p build
	$(native) $(GO) build -o build/descant ./cmd/descant

demo: build ## fine-tune the tiny base over the real pipeline and talk to it (about 3 minutes)
	@$(native) $(GO) run ./scripts/demo --descant build/descant

test: setup-tests ## run all tests (cases from DESCANT_{PARITY,QWEN,BAD,DATA}_DIR, else testdata and the built-in sample)
	$(native) $(GO) vet ./...
	PATH=$(DESCANT_CACHE)/bin:$$PATH $(native) $(GO) test -timeout 30m -p 2 ./...

.PHONY: screenshots
screenshots: setup-tests ## pictures of the web page in build/screenshots
	@mkdir -p build/screenshots
	PATH=$(DESCANT_CACHE)/bin:$$PATH DESCANT_SCREENSHOTS=$(CURDIR)/build/screenshots $(native) $(GO) test ./cmd/descant/systemtest -count=1 -run TestPage

.PHONY: pictures
pictures: build setup-tests ## make the pictures of the web page that the manual shows, in docs/images (needs a font with Chinese characters)
	$(native) $(GO) run ./scripts/pictures --descant build/descant

e2e: setup-servers ## run the end-to-end scenario alone, in one process and distributed
	PATH=$(DESCANT_CACHE)/bin:$$PATH $(native) $(GO) test -timeout 30m -count 1 -v -run Scenario ./...

soak: setup-servers ## publish, load and delete adapters 1,000 times under traffic, 500 trained ones (about 6 minutes)
	DESCANT_SOAK_CYCLES=1000 $(native) $(GO) test -timeout 60m -count 1 -v -run '^TestSoak$$' ./services/inference

check-gguf: setup ## load exported bases and adapters in llama.cpp and compare (needs node and npm)
	$(native) $(GO) run ./scripts/ggufcheck --node $(DESCANT_CACHE)/llama-cpp --parity $${DESCANT_PARITY_DIR:-testdata/parity}

bench-train: setup ## compare training with PyTorch + PEFT (needs Python; TOKENIZER=folder, DATA=file)
	$(native) $(GO) run ./scripts/benchtrain --cache $(DESCANT_CACHE)/bench-train --tokenizer "$(TOKENIZER)" --data "$(DATA)" $(BENCH_FLAGS)

bench: setup ## run the Go benchmarks (DESCANT_BENCH_MODEL=folder, else the tiny base)
	DESCANT_BENCH_MODEL=$${DESCANT_BENCH_MODEL:-$(CURDIR)/models/tiny} $(native) $(GO) test -run '^$$' -bench . -benchtime 3x ./pkg/...

bench-serve: setup ## measure the inference engine, alternately with llama.cpp and transformers (BENCH_SERVE="--model … --dtype bf16"; needs npm and Python)
	$(native) $(GO) run ./scripts/benchserve --cache $(DESCANT_CACHE) $(BENCH_SERVE)

lint: setup ## run golangci-lint and buf
	$(GO) build -C scripts/tools/lint -o $(DESCANT_CACHE)/bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	$(native) $(DESCANT_CACHE)/bin/golangci-lint run ./...
	cd proto && $(GO) run -modfile ../scripts/tools/proto/go.mod github.com/bufbuild/buf/cmd/buf lint

gen: ## renew the generated code of proto/
	cd proto && $(GO) run -modfile ../scripts/tools/proto/go.mod github.com/bufbuild/buf/cmd/buf generate

docs: setup ## make docs/options.md and docs/configuration.md anew from the structs
	$(native) $(GO) test -count 1 -run '^TestReference$$' ./cmd/descant -update

tiny-base: setup ## train the tiny base anew into models/tiny
	$(native) $(GO) run ./scripts/tinybase all --out models/tiny

parity-data: ## make testdata anew with transformers and PEFT (needs Python and a network)
	scripts/parity/run

clean: ## remove what was built here (the cache stays)
	rm -rf build
