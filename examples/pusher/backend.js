// A back end as it is written for Pusher, against roost serve --config examples/pusher/roost.yaml:
//
//	npm install pusher && node examples/pusher/backend.js news hello
//
// publishes the event hello in the channel news, and says how many listen.
'use strict';
const Pusher = require('pusher');

const pusher = new Pusher({ appId: '1', key: 'app-key', secret: 'change-me', host: '127.0.0.1', port: '8080', useTLS: false });
const [channel, event] = process.argv.slice(2);

pusher.trigger(channel, event, { at: new Date() }, { info: 'subscription_count' })
  .then((response) => response.json())
  .then(({ channels }) => console.log(`${channels[channel].subscription_count} listen to ${channel}`))
  .catch((error) => {
    console.error(error);
    process.exitCode = 1;
  });
