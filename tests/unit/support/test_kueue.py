"""Kueue's manifests, made fit for a Kueue beside the API server."""

from __future__ import annotations

from tests.support.kueue import installable


def test_what_would_run_it_is_left_out_and_its_webhooks_point_to_the_loopback() -> None:
    def hook(name: str) -> dict[str, object]:
        return {"name": name, "clientConfig": {"service": {"name": "kueue-webhook-service", "path": "/x"}}}

    found = installable(
        [
            {"kind": "Deployment", "metadata": {"name": "kueue-controller-manager"}},
            {"kind": "APIService", "metadata": {"name": "v1beta1.visibility.kueue.x-k8s.io"}},
            {"kind": "Service", "metadata": {"name": "kueue-visibility-server"}, "spec": {}},
            {"kind": "Service", "metadata": {"name": "kueue-webhook-service"}, "spec": {"ports": [1]}},
            {
                "kind": "ValidatingWebhookConfiguration",
                "metadata": {"name": "kueue"},
                "webhooks": [hook("vjob.kb.io"), hook("vpod.kb.io")],
            },
            {
                "kind": "CustomResourceDefinition",
                "metadata": {"name": "workloads.kueue.x-k8s.io"},
                "spec": {"conversion": {"webhook": {"clientConfig": {"service": {"name": "x"}}}}},
            },
        ]
    )

    service, webhooks, crd = found
    assert service["spec"] == {"type": "ExternalName", "externalName": "localhost"}
    assert [each["name"] for each in webhooks["webhooks"]] == ["vjob.kb.io"]
    assert webhooks["webhooks"][0]["clientConfig"]["service"]["port"] == 9443
    assert crd["spec"]["conversion"]["webhook"]["clientConfig"]["service"]["port"] == 9443
