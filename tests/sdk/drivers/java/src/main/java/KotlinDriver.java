import com.segment.analytics.kotlin.core.Analytics;
import com.segment.analytics.kotlin.core.BaseEvent;
import com.segment.analytics.kotlin.core.Configuration;
import com.segment.analytics.kotlin.core.RequestFactory;
import com.segment.analytics.kotlin.core.Settings;
import com.segment.analytics.kotlin.core.Storage;
import com.segment.analytics.kotlin.core.StorageProvider;
import com.segment.analytics.kotlin.core.Telemetry;
import com.segment.analytics.kotlin.core.compat.ConfigurationBuilder;
import com.segment.analytics.kotlin.core.platform.Plugin;
import com.segment.analytics.kotlin.core.utilities.FileEventStream;
import com.segment.analytics.kotlin.core.utilities.JsonUtils;
import com.segment.analytics.kotlin.core.utilities.PropertiesFile;
import com.segment.analytics.kotlin.core.utilities.StorageImpl;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.math.BigInteger;
import java.net.HttpURLConnection;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Semaphore;
import kotlin.Pair;
import kotlin.jvm.functions.Function1;
import kotlinx.coroutines.CoroutineDispatcher;
import kotlinx.serialization.json.Json;
import kotlinx.serialization.json.JsonElement;
import kotlinx.serialization.json.JsonObject;
import kotlinx.serialization.json.JsonPrimitive;
import sovran.kotlin.Store;

/** Segment's client for Kotlin: URL BATCH. It keeps its files in the working directory. */
public class KotlinDriver {
  public static void main(String[] args) throws Exception {
    Telemetry.INSTANCE.setEnable(false);
    String host = args[0].replaceFirst("^http://", "") + "/v1";
    Configuration configuration =
        new ConfigurationBuilder("key")
            .setApplication("driver")
            .setApiHost(host)
            .setCdnHost(host)
            .setFlushAt(Integer.parseInt(args[1]))
            .setFlushInterval(1)
            .setRequestFactory(new PlainHttp(host))
            .build();
    configuration.setStorageProvider(new WorkingDirectory());
    Analytics analytics = new Analytics(configuration);
    Passed passed = new Passed();
    analytics.add(passed);
    BufferedReader calls =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line; (line = calls.readLine()) != null; ) {
      send(analytics, (JsonObject) Json.Default.parseToJsonElement(line));
      // Each call is a thread of its own, and overtakes one that is under way.
      passed.events.acquire();
      // A file is closed a moment after the call that fills it.
      Thread.sleep(10);
    }
    do {
      analytics.flush();
      Thread.sleep(300);
    } while (Path.of("events").toFile().list().length > 0);
    System.exit(0);
  }

  /** There is no page: it is sent as a screen. */
  static void send(Analytics analytics, JsonObject call) {
    JsonObject traits = object(call, "traits");
    boolean isNative = text(call, "event", "").equals("Native Values");
    JsonObject properties = isNative ? natives() : object(call, "properties");
    Function1<BaseEvent, BaseEvent> completed = event -> completed(event, call);
    switch (text(call, "type", "")) {
      case "identify":
        analytics.identify(text(call, "userId", ""), traits, completed);
        break;
      case "track":
        analytics.track(text(call, "event", ""), properties, completed);
        break;
      case "page":
      case "screen":
        String category = text(call, "category", "");
        analytics.screen(text(call, "name", ""), properties, category, completed);
        break;
      case "group":
        analytics.group(text(call, "groupId", ""), traits, completed);
        break;
      case "alias":
        analytics.alias(text(call, "userId", ""), completed);
        break;
      default:
        throw new IllegalArgumentException(call.toString());
    }
  }

  static BaseEvent completed(BaseEvent event, JsonObject call) {
    event.setUserId(text(call, "userId", ""));
    event.setAnonymousId(text(call, "anonymousId", ""));
    event.setMessageId(text(call, "messageId", event.getMessageId()));
    event.setTimestamp(text(call, "timestamp", event.getTimestamp()));
    event.setContext(merged(event.getContext(), object(call, "context")));
    event.setIntegrations(merged(event.getIntegrations(), object(call, "integrations")));
    return event;
  }

  static String text(JsonObject call, String name, String otherwise) {
    JsonElement found = call.get(name);
    return found == null ? otherwise : ((JsonPrimitive) found).getContent();
  }

  static JsonObject object(JsonObject call, String name) {
    return (JsonObject) call.getOrDefault(name, new JsonObject(Map.of()));
  }

  static JsonObject merged(JsonObject one, JsonObject other) {
    Map<String, JsonElement> all = new LinkedHashMap<>(one);
    all.putAll(other);
    return new JsonObject(all);
  }

  static JsonObject natives() {
    Map<String, Object> values = new LinkedHashMap<>();
    values.put("float", 0.1f);
    values.put("double", -0.0);
    values.put("long", Long.MIN_VALUE);
    values.put("char", 'é');
    values.put("bigInteger", BigInteger.TWO.pow(70));
    values.put("uri", URI.create("https://shop.example/%C3%A9"));
    values.put("pair", new Pair<>("a", 1));
    values.put("map", Map.of("k", List.of(1, "b")));
    return (JsonObject) JsonUtils.toJsonElement(values);
  }

  /** Counts the events that are on their way to the file. */
  static class Passed implements Plugin {
    final Semaphore events = new Semaphore(0);
    private Analytics analytics;

    @Override
    public BaseEvent execute(BaseEvent event) {
      events.release();
      return event;
    }

    @Override
    public Type getType() {
      return Type.After;
    }

    @Override
    public Analytics getAnalytics() {
      return analytics;
    }

    @Override
    public void setAnalytics(Analytics analytics) {
      this.analytics = analytics;
    }

    @Override
    public void setup(Analytics analytics) {
      this.analytics = analytics;
    }

    @Override
    public void update(Settings settings, UpdateType type) {}

    @Override
    public void shutdown() {}
  }

  /** Its own requests, but for the scheme, which is fixed; and none to anybody else. */
  static class PlainHttp extends RequestFactory {
    private final String host;

    PlainHttp(String host) {
      this.host = host;
    }

    @Override
    public HttpURLConnection openConnection(String url) {
      if (!url.startsWith("https://" + host + "/")) {
        System.err.println("a request elsewhere: " + url);
        System.exit(1);
      }
      return super.openConnection(url.replaceFirst("^https://", "http://"));
    }
  }

  /** Its own storage, but for the place, which all programs of a user share. */
  static class WorkingDirectory implements StorageProvider {
    @Override
    public Storage createStorage(Object... parameters) {
      Analytics analytics = (Analytics) parameters[0];
      Path here = Path.of("").toAbsolutePath();
      PropertiesFile properties =
          new PropertiesFile(here.resolve("kotlin.properties").toFile());
      properties.load();
      return new StorageImpl(
          properties,
          new FileEventStream(here.resolve("events").toFile()),
          analytics.getStore(),
          "key",
          "index",
          analytics.getFileIODispatcher());
    }

    @Override
    public Storage getStorage(
        Analytics analytics,
        Store store,
        String writeKey,
        CoroutineDispatcher dispatcher,
        Object application) {
      return createStorage(analytics);
    }
  }
}
