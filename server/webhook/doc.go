// Package webhook connects a server with an application over HTTP, where there
// are no Go hooks: a Sender tells the application what happened, and an Asker
// asks it what a client may do. docs/webhooks.md shows both from the
// application's side.
//
//	sender, err := webhook.NewSender(webhook.SenderConfig{URL: url, Secrets: secrets})
//	…
//	config.Events = sender.Event
//	defer sender.Close(ctx) // after Server.Shutdown: its last events count too
//
//	asker, err := webhook.NewAsker(webhook.AskerConfig{URL: url, Secrets: secrets})
//	…
//	config.Application = &protocol.Application{Connect: asker.Connect, Refresh: asker.Refresh,
//		Subscribe: asker.Subscribe, Publish: asker.Publish, Call: asker.Call}
//
// Every request is signed as Standard Webhooks 1.0.0 says
// (https://www.standardwebhooks.com): HMAC-SHA256 over id, time and body, in
// the headers webhook-id, webhook-timestamp and webhook-signature. Verify
// checks that for receivers in Go.
package webhook
