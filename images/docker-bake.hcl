# Made by `python3 hack/push.py --write-bake`: the table is in hack/images.py.
#
#     REGISTRY=registry.example/team docker buildx bake --push --file images/docker-bake.hcl

variable "REGISTRY" { default = "localhost" }
variable "VERSION" { default = "0.11.0.dev0" }
variable "REVISION" { default = "unknown" }
variable "PLATFORMS" { default = "linux/amd64" }
variable "BASE_IMAGE" { default = "python:3.11-slim-bookworm" }

group "default" { targets = ["operator", "serve-llamacpp", "train", "eval", "quantize"] }

target "common" {
  context   = "."
  platforms = split(",", PLATFORMS)
}

target "tools" {
  inherits   = ["common"]
  dockerfile = "images/tools/Containerfile"
  args       = {
    BASE_IMAGE = BASE_IMAGE
  }
}

target "operator" {
  inherits   = ["common"]
  dockerfile = "images/operator/Containerfile"
  contexts   = {
    speechless-tools = "target:tools"
  }
  args       = {
    BASE_IMAGE = BASE_IMAGE
    TOOLS_IMAGE = "speechless-tools"
    VERSION = VERSION
    REVISION = REVISION
  }
  tags       = ["${REGISTRY}/speechless/operator:${VERSION}"]
}

target "llamacpp" {
  inherits   = ["common"]
  dockerfile = "images/llamacpp/Containerfile"
  args       = {
    BASE_IMAGE = BASE_IMAGE
  }
}

target "serve-llamacpp" {
  inherits   = ["common"]
  dockerfile = "images/serve-llamacpp/Containerfile"
  contexts   = {
    speechless-tools = "target:tools"
    speechless-llamacpp = "target:llamacpp"
  }
  args       = {
    BASE_IMAGE = BASE_IMAGE
    TOOLS_IMAGE = "speechless-tools"
    LLAMACPP_IMAGE = "speechless-llamacpp"
    VERSION = VERSION
    REVISION = REVISION
  }
  tags       = ["${REGISTRY}/speechless/serve-llamacpp:${VERSION}"]
}

target "torch" {
  inherits   = ["common"]
  dockerfile = "images/torch/Containerfile"
  contexts   = {
    speechless-tools = "target:tools"
  }
  args       = {
    BASE_IMAGE = BASE_IMAGE
    TOOLS_IMAGE = "speechless-tools"
  }
}

target "train" {
  inherits   = ["common"]
  dockerfile = "images/train/Containerfile"
  contexts   = {
    speechless-tools = "target:tools"
    speechless-torch = "target:torch"
  }
  args       = {
    TOOLS_IMAGE = "speechless-tools"
    TORCH_IMAGE = "speechless-torch"
    VERSION = VERSION
    REVISION = REVISION
  }
  tags       = ["${REGISTRY}/speechless/train:${VERSION}"]
}

target "eval" {
  inherits   = ["common"]
  dockerfile = "images/eval/Containerfile"
  contexts   = {
    speechless-tools = "target:tools"
    speechless-llamacpp = "target:llamacpp"
    speechless-torch = "target:torch"
  }
  args       = {
    TOOLS_IMAGE = "speechless-tools"
    LLAMACPP_IMAGE = "speechless-llamacpp"
    TORCH_IMAGE = "speechless-torch"
    VERSION = VERSION
    REVISION = REVISION
  }
  tags       = ["${REGISTRY}/speechless/eval:${VERSION}"]
}

target "quantize" {
  inherits   = ["common"]
  dockerfile = "images/quantize/Containerfile"
  contexts   = {
    speechless-tools = "target:tools"
    speechless-llamacpp = "target:llamacpp"
    speechless-torch = "target:torch"
  }
  args       = {
    TOOLS_IMAGE = "speechless-tools"
    LLAMACPP_IMAGE = "speechless-llamacpp"
    TORCH_IMAGE = "speechless-torch"
    VERSION = VERSION
    REVISION = REVISION
  }
  tags       = ["${REGISTRY}/speechless/quantize:${VERSION}"]
}
