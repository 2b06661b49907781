import com.segment.analytics.Analytics;
import com.segment.analytics.Callback;
import com.segment.analytics.messages.AliasMessage;
import com.segment.analytics.messages.GroupMessage;
import com.segment.analytics.messages.IdentifyMessage;
import com.segment.analytics.messages.Message;
import com.segment.analytics.messages.MessageBuilder;
import com.segment.analytics.messages.PageMessage;
import com.segment.analytics.messages.ScreenMessage;
import com.segment.analytics.messages.TrackMessage;
import com.segment.backo.Backo;
import java.lang.reflect.Field;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.net.URI;
import java.time.Instant;
import java.util.Collections;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.Phaser;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/** Segment's client for Java: URL BATCH. */
public class JavaDriver {
  public static void main(String[] args) {
    Phaser settled = new Phaser(1);
    Queue<String> errors = new ConcurrentLinkedQueue<>();
    Analytics analytics =
        Analytics.builder("key")
            .endpoint(args[0])
            .flushQueueSize(Integer.parseInt(args[1]))
            .flushInterval(1, TimeUnit.SECONDS)
            .networkExecutor(new Hasty())
            .callback(
                new Callback() {
                  public void success(Message message) {
                    settled.arriveAndDeregister();
                  }

                  public void failure(Message message, Throwable why) {
                    errors.add(message.messageId() + ": " + why);
                    settled.arriveAndDeregister();
                  }
                })
            .build();
    Calls.read()
        .forEach(
            call -> {
              settled.register();
              analytics.enqueue(message(call));
            });
    analytics.flush();
    settled.arriveAndAwaitAdvance();
    analytics.shutdown();
    errors.forEach(System.err::println);
    System.exit(errors.isEmpty() ? 0 : 1);
  }

  static MessageBuilder<?, ?> message(Calls call) {
    MessageBuilder<?, ?> message = ofType(call);
    Optional.ofNullable(call.text("messageId")).ifPresent(message::messageId);
    Optional.ofNullable(call.text("userId")).ifPresent(message::userId);
    Optional.ofNullable(call.text("anonymousId")).ifPresent(message::anonymousId);
    Optional.ofNullable(call.object("context")).ifPresent(message::context);
    Optional.ofNullable(call.text("timestamp"))
        .ifPresent(time -> message.timestamp(Date.from(Instant.parse(time))));
    Optional.ofNullable(call.object("integrations"))
        .ifPresent(all -> all.forEach((name, how) -> integration(message, name, how)));
    return message;
  }

  static MessageBuilder<?, ?> ofType(Calls call) {
    Map<String, Object> traits = call.object("traits");
    Map<String, Object> given = call.isNative() ? natives() : call.object("properties");
    Map<String, Object> properties = given == null ? Map.of() : given;
    // This client refuses a page without a name.
    String name = Optional.ofNullable(call.text("name")).orElse("-");
    switch (call.text("type")) {
      case "identify":
        return IdentifyMessage.builder().traits(traits);
      case "track":
        return TrackMessage.builder(call.text("event")).properties(properties);
      case "page":
        PageMessage.Builder page = PageMessage.builder(name).properties(properties);
        return call.text("category") == null ? page : page.category(call.text("category"));
      case "screen":
        return ScreenMessage.builder(name).properties(properties);
      case "group":
        return GroupMessage.builder(call.text("groupId")).traits(traits);
      case "alias":
        return AliasMessage.builder(call.text("previousId"));
      default:
        throw new IllegalArgumentException(call.text("type"));
    }
  }

  @SuppressWarnings("unchecked")
  static void integration(MessageBuilder<?, ?> message, String name, Object how) {
    if (how instanceof Boolean) {
      message.enableIntegration(name, (Boolean) how);
    } else {
      message.integrationOptions(name, (Map<String, ?>) how);
    }
  }

  static Map<String, Object> natives() {
    Map<String, Object> values = new LinkedHashMap<>();
    values.put("date", Date.from(Instant.parse("2024-02-29T12:00:00.120Z")));
    values.put("instant", Instant.parse("2024-02-29T12:00:00.123456789Z"));
    values.put("bigDecimal", new BigDecimal("1.10"));
    values.put("bigInteger", BigInteger.TWO.pow(70).negate());
    values.put("overflow", new BigDecimal("1e400"));
    values.put("float", 0.1f);
    values.put("long", Long.MIN_VALUE);
    values.put("char", 'é');
    values.put("array", new int[] {1, 2});
    values.put("enum", TimeUnit.DAYS);
    values.put("uri", URI.create("https://shop.example/%C3%A9"));
    values.put("nulls", Collections.singletonList(null));
    values.put("list", List.of(1.0, -0.0));
    return values;
  }

  /** One thread, as the client's own, whose tasks wait for less than 15 s and more. */
  static class Hasty extends ThreadPoolExecutor {
    private static final Backo QUICK =
        Backo.builder().base(TimeUnit.MILLISECONDS, 2500).factor(1).build();

    Hasty() {
      super(1, 1, 0, TimeUnit.SECONDS, new LinkedBlockingQueue<>());
    }

    @Override
    public Future<?> submit(Runnable task) {
      try {
        Field backo = task.getClass().getDeclaredField("backo");
        backo.setAccessible(true);
        backo.set(task, QUICK);
      } catch (ReflectiveOperationException error) {
        throw new AssertionError(error);
      }
      return super.submit(task);
    }
  }
}
